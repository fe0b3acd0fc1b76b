"""What a new replica waits for before it is ready, though it could serve callbacks: once, and not for long."""

from __future__ import annotations

import time
from collections.abc import Callable


class Warmup:
    """Nothing is waited for until `expect` is called. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what = ""
        self._done: Callable[[], bool] = lambda: True
        self._until = 0.0

    def expect(self, what: str, done: Callable[[], bool], limit_s: float) -> None:
        """Wait for `done`, for `limit_s` seconds from now. `what`: said of it meanwhile."""
        self._what, self._done, self._until = what, done, self._clock() + limit_s

    @property
    def waiting_for(self) -> str:
        """What is still waited for; empty when nothing is, and from then on."""
        if self._what and (self._done() or self._clock() >= self._until):
            self._what = ""
        return self._what
