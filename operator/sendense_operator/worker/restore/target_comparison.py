"""Comparison of a target's content, as its file system returns it, with what it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import and_

from sendense_operator.chain.digests import digest
from sendense_operator.chain.extents import inverted, marked
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.restore.damaged_ranges import bytes_of
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.target_errors import target_failures
from sendense_operator.worker.restore.target_file import TargetFile


async def differing_chunks(
    target: TargetFile,
    source: DigestedDisk,
    among: bytearray,
    on_total: Callable[[int], None],
    on_read: Callable[[int], None],
) -> bytearray:
    """Return which of the chunks `among` differ from what the restored disk must be; one byte per chunk in each array.

    Chunks that are holes are not read: they are zeroes. `on_total` receives the bytes to read, and `on_read` those of
    each chunk that was read, in any thread. Raises WorkerError.
    """
    with target_failures(source.disk, "reading the image back"):
        await asyncio.to_thread(target.settle)
        data = await asyncio.to_thread(target.data_chunks)
    wanted = bytearray(map(and_, among, data))
    holes = bytearray(map(and_, among, inverted(data)))
    differing = bytearray(map(and_, holes, inverted(source.expected_zeroes())))
    on_total(bytes_of(wanted, source.chunks))
    queue = ChunkQueue(marked(wanted))

    def compare() -> None:
        while (index := queue.next()) is not None:
            length = source.length(index)
            with target_failures(source.disk, f"reading back byte {index * source.chunks.chunk} of the image"):
                found = digest(target.read(index * source.chunks.chunk, length))
            if found != source.expected(index):
                differing[index] = 1
            on_read(length)

    await queue.run(compare)
    return differing
