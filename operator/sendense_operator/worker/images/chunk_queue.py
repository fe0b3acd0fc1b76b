"""A queue of chunk indexes, and the threads that work on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Final

READERS: Final = 4
"""Threads per queue: reading and hashing both release the interpreter's lock."""


class ChunkQueue:
    """Chunk indexes that several threads work on, until none is left or one of them stops it."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers, self._lock, self._stopped = numbers, threading.Lock(), False

    @property
    def is_stopped(self) -> bool:
        """Whether no further chunk is handed out."""
        return self._stopped

    def stop(self) -> None:
        """Hand out no further chunk."""
        self._stopped = True

    def next(self) -> int | None:
        """Return the next chunk index, None if there is none."""
        with self._lock:
            return None if self._stopped else next(self._numbers, None)

    async def run(self, work: Callable[[], None]) -> None:
        """Call `work`, which takes chunks until there is none, in each of READERS threads. Raises what it raises.

        After an error or a cancellation, a thread may still be working on its last chunk.
        """

        def until_empty() -> None:
            try:
                work()
            finally:
                # No chunk is left, or something is wrong: the other threads end, too.
                self.stop()

        try:
            await asyncio.gather(*(asyncio.to_thread(until_empty) for _ in range(READERS)))
        finally:
            self.stop()
