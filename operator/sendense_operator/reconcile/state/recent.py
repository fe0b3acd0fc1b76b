"""A dictionary that forgets: what the controller remembers of objects that nobody reports as gone."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The latest values by key; the oldest go when there are too many, or when together they weigh more than `most`."""

    def __init__(self, limit: int = 2000, *, weigh: Callable[[V], int] | None = None, most: int = sys.maxsize) -> None:
        self._limit = limit
        self._weigh = weigh
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Remember."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._limit:
            self._values.popitem(last=False)
        if self._weigh is not None:
            self._drop_weight(self._weigh)

    def _drop_weight(self, weigh: Callable[[V], int]) -> None:
        """Forget the oldest until the rest weighs at most `most`. Values grow while they are kept: all are weighed."""
        total = sum(map(weigh, self._values.values()))
        while total > self._most:
            _, gone = self._values.popitem(last=False)
            total -= weigh(gone)

    def get(self, key: K) -> V | None:
        """Return what is remembered, or None."""
        return self._values.get(key)

    def values(self) -> list[V]:
        """Return all that is remembered, the oldest first."""
        return list(self._values.values())

    def pop(self, key: K) -> V | None:
        """Return what is remembered, for the last time."""
        return self._values.pop(key, None)


def count_up(counts: Recent[K, int], key: K) -> int:
    """Add 1 to a count that begins at 0, and return it."""
    count = (counts.get(key) or 0) + 1
    counts.put(key, count)
    return count
