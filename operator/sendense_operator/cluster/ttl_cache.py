"""Answers that are remembered for a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Briefly(Generic[K, V]):
    """Keeps each answer for `keep_s` seconds, at most `limit` of them; who asks the same at the same time asks once.

    What failed is not kept.
    """

    def __init__(self, keep_s: float, limit: int = 4096) -> None:
        self._keep_s = keep_s
        self._limit = limit
        self._kept: dict[K, tuple[float, V]] = {}
        self._asked: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """Return the answer for `key`, from `ask` when none is kept. Raises what `ask` raises."""
        found = self._kept.get(key)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        asked = self._asked.get(key)
        if asked is None:
            asked = asyncio.ensure_future(ask())
            self._asked[key] = asked
            asked.add_done_callback(partial(self._done, key))
        # somebody who hangs up must not take the answer away from the others
        return await asyncio.shield(asked)

    def _done(self, key: K, asked: asyncio.Future[V]) -> None:
        del self._asked[key]
        if asked.cancelled() or asked.exception() is not None:
            return
        self._kept.pop(key, None)
        while len(self._kept) >= self._limit:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = (time.monotonic() + self._keep_s, asked.result())
