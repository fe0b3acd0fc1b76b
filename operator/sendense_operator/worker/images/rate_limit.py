"""Limit of the bytes per second that all threads of a verification or a merge read or write together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """A token bucket whose readers wait in the order in which they ask; None: no limit.

    A reader may go on as soon as all that was granted before it is paid for, so a chunk may be larger than a second's
    share. Unused time is not saved up.
    """

    def __init__(
        self,
        bytes_per_second: int | None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Initialize; `wait` waits for some seconds, or until `stop` is called."""
        self._rate, self._clock = bytes_per_second, clock
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._lock = threading.Lock()
        self._next = clock()
        """When the next bytes may be read."""

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be read, or until `stop` is called. For use in threads."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + count / self._rate
        if start > now:
            self._wait(start - now)

    def stop(self) -> None:
        """Let every reader go on at once, now and later."""
        self._stopped.set()
