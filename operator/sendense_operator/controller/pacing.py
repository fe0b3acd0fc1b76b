"""Fewer checks of what changes again and again: a chain whose restore points are adopted by the thousand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sendense_operator.reconcile.state.keys import Key

MAX_WAIT_S: Final = 60.0
_MANY: Final = 1000
"""Keys that are remembered before those that are quiet again are dropped."""


class Pacer:
    """Says how long a key waits: as long as requested at first, twice as long with each wait that follows another.

    A key that did not change for as long as it last waited begins anew. `now`: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._planned: dict[Key, tuple[float, float]] = {}
        """When the key's last wait ends or ended, and its length."""

    def wait(self, key: Key, shortest: float) -> float:
        """Return the seconds until the key's next check; `shortest` of 0: at once, and its pace is left alone."""
        if not shortest:
            return 0.0
        now = self._now()
        end, length = self._planned.get(key, (now, 0.0))
        if now < end:
            return end - now
        length = min(2 * length, MAX_WAIT_S) if now - end < length else shortest
        if len(self._planned) >= _MANY:
            self._planned = {k: (e, wait) for k, (e, wait) in self._planned.items() if now - e < wait}
        self._planned[key] = now + length, length
        return length
