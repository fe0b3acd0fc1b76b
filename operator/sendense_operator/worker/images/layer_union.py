"""Writing of what the uppermost layers of a stack define into another layer, through servers of the worker itself.

Data stays data and zeroes stay zeroes; nothing is compared with what lies below.
"""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import chunk_length, marked
from sendense_operator.chain.merging import Run, defined_runs, read_groups
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.merge_pace import Pace
from sendense_operator.worker.images.nbd_client import Connection
from sendense_operator.worker.images.nbd_export import ModeChoice

_CLOSE_SECONDS: Final = 600.0
"""Time limit for closing the new layer: without O_DIRECT, closing has to write back the whole page cache."""
_WHAT: Final = "merging the layers"


@dataclass(frozen=True)
class Union:
    """What is written, and where."""

    source: Path
    """The top layer of the stack that is read."""
    layers: int
    """Number of layers of that stack."""
    merged: int
    """Number of its uppermost layers whose content is written."""
    target: Path
    """The layer that is written. What it has where those layers define nothing stays."""
    target_layers: int
    """Number of layers of its stack, itself included; 1: it is a full, in which zeroes may become holes."""
    chunks: Chunks
    defined: bytearray
    """One byte per chunk: 1 if those layers define something in it."""


async def write_union(union: Union, pace: Pace, choice: ModeChoice, runtime: Path, tag: str) -> int:
    """Write it, and return the number of bytes of data that were written.

    `tag` names the servers' files in `runtime`. At the return the target's server has ended, but its file is not
    flushed. Raises WorkerError, and what `pace` raises; a thread may then still be at its last chunk.
    """
    queue, lock, written = ChunkQueue(marked(union.defined)), threading.Lock(), 0
    source, target = union.source, union.target
    async with AsyncExitStack() as servers:
        sockets = []
        for name, options, flags in (
            ("source", lambda mode: qemu_tools.read_options(source, mode, union.layers), ["-r", "-A"]),
            ("target", lambda mode: qemu_tools.write_options(target, mode, union.target_layers), []),
        ):
            server = nbd_export.served(f"{tag}-{name}", flags, options, choice, runtime, _CLOSE_SECONDS)
            sockets.append(await servers.enter_async_context(server))
        read_from, write_to = sockets

        def work() -> None:
            nonlocal written
            writer = _Writer(union, read_from, write_to)
            total = 0
            while (index := queue.next()) is not None:
                pace.before_chunk()
                total += writer.write_chunk(index, pace)
            writer.close()
            with lock:
                written += total

        await queue.run(work)
    return written


class _Writer:
    """The connections of one thread."""

    def __init__(self, union: Union, source: Path, target: Path) -> None:
        self._union, self._hole = union, union.target_layers == 1
        self._source = Connection(source, union.chunks.virtual_size, _WHAT)
        self._target = Connection(target, union.chunks.virtual_size, _WHAT)

    def write_chunk(self, index: int, pace: Pace) -> int:
        """Write what the layers define in a chunk, and return the bytes of data."""
        chunks = self._union.chunks
        start, length = index * chunks.chunk, chunk_length(index, chunks.virtual_size, chunks.chunk)
        runs = list(defined_runs(self._source.statuses(start, length), self._union.merged))
        count = sum(run.end - run.start for run in runs if not run.is_zero)
        pace.take(count)
        for run in runs:
            if run.is_zero:
                # On a layer below, explicit zeroes and not a hole, in which that layer's data could show.
                self._target.zero(run.start, run.end - run.start, hole=self._hole)
        for group in read_groups(runs):
            self._write_group(group)
        pace.advance(length)
        return count

    def _write_group(self, group: list[Run]) -> None:
        first = group[0].start
        data = memoryview(self._source.read(first, group[-1].end - first))
        for run in group:
            self._target.write(data[run.start - first : run.end - first], run.start)

    def close(self) -> None:
        """Flush what was written, and end the connections."""
        self._target.flush()
        self._source.close()
        self._target.close()
