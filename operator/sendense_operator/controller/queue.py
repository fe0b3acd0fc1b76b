"""A keyed work queue: each key once, never two at a time for one key, back-off for what fails.

The shape of client-go's workqueue. Level-based: an event only says "look again", so events that come while a
key waits or is worked on fold into one.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

BASE_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 60.0
_log = logging.getLogger(__name__)


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after the Nth failure in a row (1, 2, …); `jitter` in 0..1 adds up to a tenth."""
    delay: float = min(BASE_DELAY_S * 2.0 ** min(failures - 1, 16), MAX_DELAY_S)
    return delay * (1 + 0.1 * jitter)


class WorkQueue(Generic[K]):
    """Runs `work(key)`; its result is the delay in seconds after which to look again, or None."""

    def __init__(self, work: Callable[[K], Awaitable[float | None]], *, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._running: dict[K, asyncio.Task[float | None]] = {}
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: Counter[K] = Counter()
        self._wake = asyncio.Event()
        self._open = asyncio.Event()

    def add(self, key: K) -> None:
        """Look at `key` as soon as possible."""
        self._due.pop(key, None)
        if key in self._running:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Look at `key` in `delay` seconds, unless an earlier look is planned."""
        if key in self._ready or key in self._again:
            return
        due = asyncio.get_running_loop().time() + max(delay, 0.0)
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wake.set()

    def resume(self) -> None:
        """Start (or go on) working."""
        self._open.set()
        self._wake.set()

    def pause(self) -> None:
        """Stop working at once: what runs is cancelled and will be looked at again after `resume`."""
        self._open.clear()
        for key, task in self._running.items():
            self._again.add(key)
            task.cancel()

    @property
    def idle(self) -> bool:
        """Nothing waits for a worker and nothing runs (delayed keys may be there)."""
        return not self._ready and not self._running

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._open.wait()
                self._move_due()
                self._start_ready()
                await self._sleep()
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _move_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else: superseded by an earlier look
                self.add(key)

    def _start_ready(self) -> None:
        while self._ready and len(self._running) < self._workers and self._open.is_set():
            key, _ = self._ready.popitem(last=False)
            self._due.pop(key, None)
            task = asyncio.ensure_future(self._work(key))
            self._running[key] = task
            task.add_done_callback(functools.partial(self._finished, key))

    def _finished(self, key: K, task: asyncio.Task[float | None]) -> None:
        del self._running[key]
        again = key in self._again
        self._again.discard(key)
        self._wake.set()
        if task.cancelled():
            # By `pause`, or by kopf: when it ends it cancels all tasks that are younger than itself.
            self._ready[key] = None
            return
        error = task.exception()
        if error is not None:
            self._failures[key] += 1
            delay = backoff(self._failures[key], random.random())  # noqa: S311 - spreads retries
            # Once is nothing: an object that changed, or went, while it was looked at.
            level = logging.WARNING if self._failures[key] > 1 else logging.INFO
            _log.log(level, "%s: %s: %s; again in %.1f s", key, type(error).__name__, error, delay)
            _log.debug("%s failed", key, exc_info=error)
            self.add_after(key, delay)
            return
        del self._failures[key]
        if again:
            self.add(key)
        elif (delay_after := task.result()) is not None:
            self.add_after(key, delay_after)

    async def _sleep(self) -> None:
        self._wake.clear()
        now = asyncio.get_running_loop().time()
        timeout = max(0.0, self._heap[0][0] - now) if self._heap else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass
