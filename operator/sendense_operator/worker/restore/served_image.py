"""Comparison of an image that QEMU's own driver reads with what the restored disk must be.

QEMU did not write a stream-optimised image, and of a QCOW2 image another process reads: so it is proven that others
find the disk in it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from operator import and_
from pathlib import Path
from typing import Final

from sendense_operator.chain.digests import digest, zero_digest
from sendense_operator.chain.extents import marked
from sendense_operator.worker.images import nbd_export
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.nbd_client import Connection
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.qemu_tools import IoMode
from sendense_operator.worker.restore.damaged_ranges import bytes_of
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.target_errors import image_failures, target_failures
from sendense_operator.worker.restore.target_folder import TargetFolder

_CLOSE_SECONDS: Final = 10.0


async def settle(folder: TargetFolder, source: DigestedDisk) -> None:
    """Make an image durable, and drop it from the page cache, so that what is read is what is stored."""
    with target_failures(source.disk, "flushing the image"):
        await asyncio.to_thread(folder.file.settle)


async def compare_served(
    source: DigestedDisk,
    options: Callable[[IoMode], str],
    among: bytearray,
    on_total: Callable[[int], None],
    on_read: Callable[[int], None],
    choice: ModeChoice,
    runtime: Path,
) -> bytearray:
    """Return which of the chunks differ, as `DiskImage.differing` does; `options`: the image's for a read-only server.

    The image must be settled.
    """
    differing, content = bytearray(source.chunks.count), source.content
    # What should be zeroes costs nothing to read, if it is: it does not count.
    on_total(bytes_of(bytearray(map(and_, among, content)), source.chunks))
    queue = ChunkQueue(marked(among))
    tag = f"target-{source.disk.index}"

    def compare(where: Path) -> None:
        with image_failures(source.disk):
            connection = Connection(where, source.chunks.virtual_size, "reading the image back")
        while (index := queue.next()) is not None:
            length = source.length(index)
            with image_failures(source.disk):
                found = _digest_of(connection, index * source.chunks.chunk, length)
            if found != source.expected(index):
                differing[index] = 1
            if content[index]:
                on_read(length)
        with image_failures(source.disk):
            connection.close()

    async with AsyncExitStack() as server:
        with image_failures(source.disk):
            export = nbd_export.served(tag, ["-r"], options, choice, runtime, _CLOSE_SECONDS)
            where = await server.enter_async_context(export)
        await queue.run(lambda: compare(where))
        with image_failures(source.disk):
            await server.aclose()
    return differing


def _digest_of(connection: Connection, start: int, length: int) -> bytes:
    if connection.is_zero(start, length):
        return zero_digest(length)
    return digest(connection.read(start, length))
