"""Proof that a new layer defines exactly what was written to it, read back without the layers below it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from sendense_operator.chain.compaction import fingerprint
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import chunk_length, marked
from sendense_operator.chain.merging import defined_runs
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.layer_difference import Written
from sendense_operator.worker.images.nbd_client import Connection
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.qemu_tools import IoMode

_CLOSE_SECONDS: Final = 60.0


async def prove_difference(
    layer: Path, chunks: Chunks, written: Written, choice: ModeChoice, runtime: Path, tag: str
) -> None:
    """Raise WorkerError unless the layer defines in the compared chunks what was written, and nothing else.

    Together with the comparison this proves that it reads as the upper stack there: inside of what it defines by the
    content that is read back here, outside by that of the lower stack, which was read and found to be equal.
    """
    queue, lock, found = ChunkQueue(marked(written.compared)), threading.Lock(), 0

    def options(mode: IoMode) -> str:
        return qemu_tools.alone_options(layer, mode)

    async with nbd_export.served(tag, ["-r", "-A"], options, choice, runtime, _CLOSE_SECONDS) as socket:

        def work() -> None:
            nonlocal found
            connection = Connection(socket, chunks.virtual_size, "proving the compacted layer")
            total = 0
            while (index := queue.next()) is not None:
                total += _read_back(connection, chunks, index)
            connection.close()
            with lock:
                found += total

        await queue.run(work)
    if found != written.fingerprint:
        raise WorkerError(Reason.IMAGE_CORRUPT, "the compacted layer does not hold what was written to it")


def _read_back(connection: Connection, chunks: Chunks, index: int) -> int:
    """Return the fingerprint of what the layer defines in a chunk. Raises WorkerError."""
    start, length = index * chunks.chunk, chunk_length(index, chunks.virtual_size, chunks.chunk)
    runs = [(run.start - start, run.end - start) for run in defined_runs(connection.statuses(start, length), 1)]
    if not runs:
        return 0
    first = runs[0][0]
    return fingerprint(index, runs, connection.read(start + first, runs[-1][1] - first), first)
