"""A keyed work queue: each key once, never two at a time for one key, back-off for what fails.

The shape of client-go's workqueue. Level-based: an event only says "look again", so events that come while a
key waits or is worked on fold into one. Keys of different pools do not wait for each other's workers.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sendense_operator.logs import get_logger

K = TypeVar("K")

BASE_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 60.0
_log = get_logger(__name__)


def backoff(failures: int, jitter: float) -> float:
    """Return seconds to wait after the Nth failure in a row (1, 2, …); `jitter` in 0..1 adds up to a tenth."""
    delay: float = min(BASE_DELAY_S * 2.0 ** min(failures - 1, 16), MAX_DELAY_S)
    return delay * (1 + 0.1 * jitter)


@dataclass
class _Pool(Generic[K]):
    """Keys that share workers."""

    workers: int
    ready: OrderedDict[K, float] = field(default_factory=OrderedDict)
    """Each with the time since when it waits (the loop's clock)."""
    running: int = 0
    moved: float = 0.0
    """When one of its keys last began, ended, or came while none waited (the loop's clock)."""


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """How busy a pool is."""

    waiting: int
    """Keys that wait for a worker."""
    running: int
    workers: int


class WorkQueue(Generic[K]):
    """Runs `work(key)`; its result is the delay in seconds after which to look again, or None.

    `workers`: how many each pool has; `pool_of`: the pool of a key; `on_start` receives the pool of each key that a
    worker takes, and the seconds that the key waited.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        *,
        workers: Mapping[str, int],
        pool_of: Callable[[K], str],
        on_start: Callable[[str, float], None] = lambda pool, waited: None,
    ) -> None:
        self._work = work
        self._on_start = on_start
        self._pools: dict[str, _Pool[K]] = {name: _Pool(count) for name, count in workers.items()}
        self._pool_of = pool_of
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
            self._put(key)

    def _put(self, key: K) -> None:
        pool = self._pools[self._pool_of(key)]
        if not pool.ready:
            pool.moved = _now()
        pool.ready.setdefault(key, _now())
        self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Look at `key` in `delay` seconds, unless an earlier look is planned."""
        if key in self._pools[self._pool_of(key)].ready or key in self._again:
            return
        due = _now() + max(delay, 0.0)
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wake.set()

    def resume(self) -> None:
        """Start (or go on) working."""
        for pool in self._pools.values():
            pool.moved = _now()
        self._open.set()
        self._wake.set()

    def pause(self) -> None:
        """Stop working at once: what runs is cancelled and will be checked again after `resume`."""
        self._open.clear()
        for key, task in self._running.items():
            self._again.add(key)
            task.cancel()

    @property
    def idle(self) -> bool:
        """Nothing waits for a worker and nothing runs (delayed keys may be there)."""
        return not self._running and not any(pool.ready for pool in self._pools.values())

    def loads(self) -> dict[str, PoolLoad]:
        """Return how busy each pool is."""
        return {name: PoolLoad(len(one.ready), one.running, one.workers) for name, one in self._pools.items()}

    @property
    def stalled_s(self) -> float:
        """Seconds for which keys of a pool have waited while none of it began or ended; the longest of all pools."""
        waiting = [pool.moved for pool in self._pools.values() if pool.ready and self._open.is_set()]
        return _now() - min(waiting) if waiting else 0.0

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
        now = _now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else: superseded by an earlier look
                self.add(key)

    def _start_ready(self) -> None:
        for name, pool in self._pools.items():
            while pool.ready and pool.running < pool.workers and self._open.is_set():
                key, since = pool.ready.popitem(last=False)
                self._due.pop(key, None)
                pool.running, pool.moved = pool.running + 1, _now()
                self._on_start(name, pool.moved - since)
                task = asyncio.ensure_future(self._work(key))
                self._running[key] = task
                task.add_done_callback(functools.partial(self._finished, key, pool))

    def _finished(self, key: K, pool: _Pool[K], task: asyncio.Task[float | None]) -> None:
        del self._running[key]
        pool.running, pool.moved = pool.running - 1, _now()
        again = key in self._again
        self._again.discard(key)
        self._wake.set()
        if task.cancelled():
            # By `pause`, or by kopf: when it ends it cancels all tasks that are younger than itself.
            self._put(key)
            return
        error = task.exception()
        if error is not None:
            self._failures[key] += 1
            delay = backoff(self._failures[key], random.random())  # noqa: S311 - spreads retries
            # Once is nothing: an object that changed, or went, while it was checked.
            level = logging.WARNING if self._failures[key] > 1 else logging.INFO
            _log.log(
                level,
                "reconcile failed",
                object=key,
                error=f"{type(error).__name__}: {error}",
                retry_s=round(delay, 1),
            )
            _log.debug("reconcile failed", object=key, exc_info=error)
            self.add_after(key, delay)
            return
        del self._failures[key]
        if again:
            self.add(key)
        elif (delay_after := task.result()) is not None:
            self.add_after(key, delay_after)

    async def _sleep(self) -> None:
        self._wake.clear()
        timeout = max(0.0, self._heap[0][0] - _now()) if self._heap else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass


def _now() -> float:
    return asyncio.get_running_loop().time()
