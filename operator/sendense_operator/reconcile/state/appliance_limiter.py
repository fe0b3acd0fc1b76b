"""Whose turn it is to ask an appliance for a VM.

Nobody waits in here: who has no turn goes, and is checked again when there is one. A worker of the queue that waited
would be held by an appliance that does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sendense_operator.reconcile.state.keys import Key, Work

AT_A_TIME: Final = 4
"""VMs that one appliance is asked for at the same time."""


@dataclass
class _Line:
    """Of one appliance."""

    asked: set[str] = field(default_factory=set)
    """UIDs of the VMs that it is being asked for."""
    waiting: dict[Key, str] = field(default_factory=dict)
    """Who found no turn, the first one first, and the VM that each asks for."""


class ApplianceLimiter:
    """So many VMs of an appliance at a time, and each VM by one at a time: the others read what that one hears."""

    def __init__(self, call: Callable[[Key], None], at_a_time: int = AT_A_TIME) -> None:
        """`call`: looks at a key again."""
        self._call = call
        self._at_a_time = at_a_time
        self._lines: dict[str, _Line] = {}

    @property
    def is_idle(self) -> bool:
        """Nobody asks, and nobody waits to be called."""
        return not self._lines

    @contextmanager
    def turn(self, appliance: str, vm: str, key: Key) -> Iterator[bool]:
        """Whether `key` may ask now for a VM (both by UID); if so, until the end of the block. Else it is called."""
        line = self._lines.setdefault(appliance, _Line())
        if vm in line.asked or len(line.asked) >= self._at_a_time:
            line.waiting.setdefault(key, vm)
            yield False
            return
        line.waiting.pop(key, None)
        line.asked.add(vm)
        try:
            yield True
        finally:
            line.asked.discard(vm)
            self._call_next(appliance, line, vm)

    def _call_next(self, appliance: str, line: _Line, vm: str) -> None:
        same = [key for key, wanted in line.waiting.items() if wanted == vm]
        # Somebody waits for a Backup, nobody for a routine look.
        others = sorted((key for key in line.waiting if key not in same), key=lambda key: key.work is not Work.BACKUP)
        if line.asked:
            others = others[: self._at_a_time - len(line.asked)]
        else:
            # Nobody is left who would call them later, if those who are called have nothing to ask any more.
            del self._lines[appliance]
        for key in (*same, *others):
            del line.waiting[key]
            self._call(key)
