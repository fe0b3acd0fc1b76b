"""Writing of what differs between two stacks of layers into a new layer on the lower one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.chain.compaction import Content, Difference, find_differences
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import chunk_length, marked
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.nbd_client import Connection
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.qemu_tools import IoMode

_CLOSE_SECONDS: Final = 600.0
"""Time limit for closing the new layer: without O_DIRECT, closing has to write back the whole page cache."""
_MOST_WRITE: Final = 1 << 20
"""Largest write in bytes, so that four threads hold few copies."""


@dataclass(frozen=True)
class Stack:
    """A layer that is read, with those below it."""

    path: Path
    layers: int
    """Number of its layers, `path` included."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where what differs is written."""

    upper: Stack
    lower: Stack
    target: Path
    """The new layer: empty, and based on the lower stack."""
    chunks: Chunks
    touched: bytearray
    """One byte per chunk: 1 if the stacks may differ in it."""
    data: bytearray
    """One byte per chunk: 1 if the upper stack may hold something other than zeroes in it."""


class _Tally:
    """A sum to which several threads add."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count


async def write_difference(
    comparison: Comparison,
    receive: Callable[[int, Content], bool],
    before_chunk: Callable[[], None],
    choice: ModeChoice,
    runtime: Path,
    tag: str,
) -> int:
    """Write what differs, and return the number of bytes that do; zeroes over data of the lower stack are explicit.

    `receive` receives the index and content of each touched chunk of the upper stack that may hold data, and returns
    whether it is known to equal the lower stack's, which is then not read. `before_chunk` is called before each chunk.
    Both run in any thread, and what they raise ends it. At the return the new layer's server has ended, but its file is
    not flushed. Raises WorkerError.
    """
    changed = _Tally()
    queue = ChunkQueue(marked(comparison.touched))
    async with AsyncExitStack() as servers:

        async def serve(name: str, options: Callable[[IoMode], str], *flags: str) -> Path:
            server = nbd_export.served(f"{tag}-{name}", flags, options, choice, runtime, _CLOSE_SECONDS)
            return await servers.enter_async_context(server)

        lower, upper, target = comparison.lower, comparison.upper, comparison.target
        sockets = (
            await serve("upper", lambda mode: qemu_tools.read_options(upper.path, mode, upper.layers), "-r"),
            await serve("lower", lambda mode: qemu_tools.read_options(lower.path, mode, lower.layers), "-r"),
            await serve("target", lambda mode: qemu_tools.write_options(target, mode, lower.layers + 1)),
        )

        def work() -> None:
            reader = _Reader(comparison, sockets, receive)
            while (index := queue.next()) is not None:
                before_chunk()
                changed.add(reader.compare(index))
            reader.flush()

        await queue.run(work)
    return changed.total


class _Reader:
    """The connections of one thread to the three servers."""

    def __init__(
        self, comparison: Comparison, sockets: tuple[Path, Path, Path], receive: Callable[[int, Content], bool]
    ) -> None:
        self._comparison, self._receive = comparison, receive
        self._zeroes = bytes(comparison.chunks.chunk)
        size = comparison.chunks.virtual_size
        self._upper, self._lower, self._target = (
            Connection(socket, size, "comparing the layers") for socket in sockets
        )

    def compare(self, index: int) -> int:
        """Compare a chunk, write what differs, and return the number of bytes that do."""
        chunks = self._comparison.chunks
        start, length = index * chunks.chunk, chunk_length(index, chunks.virtual_size, chunks.chunk)
        new: Content = self._zeroes[:length]
        if self._comparison.data[index]:
            new = self._upper.read(start, length)
            if self._receive(index, new):
                return 0
        if self._lower.is_zero(start, length):
            if not self._comparison.data[index]:
                return 0
            old: Content = self._zeroes[:length]
        else:
            old = self._lower.read(start, length)
        return sum(self._write(new, start, run) for run in find_differences(new, old))

    def _write(self, new: Content, chunk: int, run: Difference) -> int:
        """Write a run of a chunk that begins at byte `chunk` of the disk, and return its length."""
        length = run.end - run.start
        if run.is_zero:
            # Explicit zeroes and not a hole, in which the lower stack's data could show.
            self._target.zero(chunk + run.start, length, hole=False)
            return length
        for first in range(run.start, run.end, _MOST_WRITE):
            self._target.write(new[first : min(run.end, first + _MOST_WRITE)], chunk + first)
        return length

    def flush(self) -> None:
        """Flush the new layer, and end the connections."""
        self._target.flush()
        for connection in (self._upper, self._lower, self._target):
            connection.close()
