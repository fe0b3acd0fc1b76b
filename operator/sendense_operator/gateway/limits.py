"""How many calls may be in flight, and how many of them may wait for a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TooManyCallsError(Exception):
    """A limit is reached; the text says which."""


class CallLimits:
    """Counters of one gateway process. A call whose worker is known never counts as held."""

    def __init__(self, calls: int, held: int, held_per_appliance: int) -> None:
        self._max_calls = calls
        self._max_held = held
        self._max_held_per_appliance = held_per_appliance
        self._calls = 0
        self._held: Counter[str] = Counter()

    @property
    def calls(self) -> int:
        """Calls in flight."""
        return self._calls

    @property
    def held(self) -> int:
        """Calls that wait for their worker."""
        return self._held.total()

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a call. Raises TooManyCallsError."""
        if self._calls >= self._max_calls:
            raise TooManyCallsError("too many calls in flight")
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextmanager
    def holding(self, appliance: str, *, admitted: bool = False) -> Iterator[None]:
        """Count a call that waits. Raises TooManyCallsError, unless it was `admitted` before."""
        full = self.held >= self._max_held or self._held[appliance] >= self._max_held_per_appliance
        if full and not admitted:
            raise TooManyCallsError("too many calls wait for their workers")
        self._held[appliance] += 1
        try:
            yield
        finally:
            self._held[appliance] -= 1
            if not self._held[appliance]:
                del self._held[appliance]
