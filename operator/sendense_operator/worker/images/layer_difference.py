"""Writing of what differs between two stacks of layers into a new layer on the lower one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.chain.compaction import Content, Difference, find_differences, fingerprint, is_complete
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import chunk_length, marked
from sendense_operator.worker.errors import Reason, WorkerError
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


class Written:
    """What was written; several threads add to it."""

    def __init__(self, chunks: int) -> None:
        self.changed_bytes = 0
        """Bytes that differ from the lower stack."""
        self.fingerprint = 0
        """What the new layer has to define in the compared chunks: the sum of `chain.compaction.fingerprint`."""
        self.compared = bytearray(chunks)
        """One byte per chunk: 1 if its content in both stacks was compared, 0 if at most digests were."""
        self._lock = threading.Lock()

    def add(self, index: int, differences: Sequence[Difference], content: Content) -> None:
        """Add a chunk that was compared; `content` is the upper stack's."""
        value = fingerprint(index, ((run.start, run.end) for run in differences), content)
        with self._lock:
            self.changed_bytes += sum(run.end - run.start for run in differences)
            self.fingerprint += value
            self.compared[index] = 1


async def write_difference(
    comparison: Comparison,
    receive: Callable[[int, Content], bool],
    before_chunk: Callable[[], None],
    choice: ModeChoice,
    runtime: Path,
    tag: str,
) -> Written:
    """Write what differs, and return what it is; zeroes over data of the lower stack are explicit.

    `receive` receives the index and content of each touched chunk of the upper stack that may hold data, and returns
    whether it is known to equal the lower stack's, which is then not read. `before_chunk` is called before each chunk.
    Both run in any thread, and what they raise ends it. At the return the new layer's server has ended, but its file is
    not flushed. Raises WorkerError.
    """
    written = Written(comparison.chunks.count)
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
            reader = _Reader(comparison, sockets, receive, written)
            while (index := queue.next()) is not None:
                before_chunk()
                reader.compare(index)
            reader.flush()

        await queue.run(work)
    return written


class _Reader:
    """The connections of one thread to the three servers."""

    def __init__(
        self,
        comparison: Comparison,
        sockets: tuple[Path, Path, Path],
        receive: Callable[[int, Content], bool],
        written: Written,
    ) -> None:
        self._comparison, self._receive, self._written = comparison, receive, written
        self._zeroes = bytes(comparison.chunks.chunk)
        size = comparison.chunks.virtual_size
        self._upper, self._lower, self._target = (
            Connection(socket, size, "comparing the layers") for socket in sockets
        )

    def compare(self, index: int) -> None:
        """Compare a chunk, and write what differs. Raises WorkerError."""
        chunks = self._comparison.chunks
        start, length = index * chunks.chunk, chunk_length(index, chunks.virtual_size, chunks.chunk)
        new: Content = self._zeroes[:length]
        if self._comparison.data[index]:
            new = self._upper.read(start, length)
            if self._receive(index, new):
                return
        if self._lower.is_zero(start, length):
            old: Content = self._zeroes[:length]
        else:
            old = self._lower.read(start, length)
        differences = list(find_differences(new, old))
        if not is_complete(new, old, differences):
            raise WorkerError(Reason.IMAGE_CORRUPT, f"the comparison has overlooked changes from byte {start} on")
        for run in differences:
            self._write(new, start, run)
        self._written.add(index, differences, new)

    def _write(self, new: Content, chunk: int, run: Difference) -> None:
        """Write a run of a chunk that begins at byte `chunk` of the disk."""
        if run.is_zero:
            # Explicit zeroes and not a hole, in which the lower stack's data could show.
            self._target.zero(chunk + run.start, run.end - run.start, hole=False)
            return
        for first in range(run.start, run.end, _MOST_WRITE):
            self._target.write(new[first : min(run.end, first + _MOST_WRITE)], chunk + first)

    def flush(self) -> None:
        """Flush the new layer, and end the connections."""
        self._target.flush()
        for connection in (self._upper, self._lower, self._target):
            connection.close()
