"""A disk of a restore point that is restored: its layers, its digest list, and what is known to be damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import and_, or_
from pathlib import Path, PurePosixPath

from sendense_operator.chain.digests import DIGEST_SIZE, Chunks, digest, zero_digest
from sendense_operator.chain.extents import LayerMap, chunk_length
from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.errors import storage_error
from sendense_operator.worker.images.content_digests import Content, Reading, read_chunks
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.point_stacks import Stack
from sendense_operator.worker.images.proof import check_digest_root, open_list, read_list
from sendense_operator.worker.images.unproven import Unproven, corruption_as_unproven
from sendense_operator.worker.storage.digest_file import DigestFile

_NOT = bytes(value == 0 for value in range(256))


@dataclass
class DiskSource:
    """What is read of one disk. Each array has one byte per chunk."""

    root: Path
    """The repository's root."""
    disk: RestoreDisk
    stack: Stack
    written: DigestFile
    """Digests of the content as it was written."""
    layer: LayerMap
    zero: bytearray
    """1 for chunks that were zeroes when they were written."""
    damaged: bytearray = field(init=False)
    """1 for chunks that were found to be damaged."""

    def __post_init__(self) -> None:
        self.damaged = bytearray(self.chunks.count)

    @property
    def chunks(self) -> Chunks:
        """The chunks of the disk."""
        return self.written.chunks

    @property
    def content(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written."""
        return self.zero.translate(_NOT)

    @property
    def lost(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written, but of which no layer has data."""
        return bytearray(map(and_, self.content, self.layer.data_chunks.translate(_NOT)))

    def length(self, index: int) -> int:
        """Return the length of a chunk in bytes."""
        return chunk_length(index, self.chunks.virtual_size, self.chunks.chunk)

    def expected(self, index: int) -> bytes:
        """Return the digest that a chunk of the restored disk must have. Raises WorkerError."""
        if self.damaged[index]:
            return zero_digest(self.length(index))
        return self.recorded(index)

    def recorded(self, index: int) -> bytes:
        """Return the digest of a chunk as it was written. Raises WorkerError."""
        try:
            return self.written.get(index)
        except OSError as error:
            raise storage_error(error, f"reading the digests of {self.name}") from error

    def expected_zeroes(self) -> bytearray:
        """Return 1 for each chunk that must be zeroes in the restored disk."""
        return bytearray(map(or_, self.zero, self.damaged))

    @property
    def name(self) -> str:
        """File name of the top layer."""
        return PurePosixPath(self.stack[0].file).name

    def unproven(self, chunks: tuple[int, ...]) -> Unproven:
        """Return the finding that chunks do not read as they were written."""
        start = chunks[0] * self.chunks.chunk
        text = f"{self.name}: the content at byte {start} of the disk is not what was written"
        return Unproven(text, chunks=chunks)

    def is_as_written(self, index: int, data: Content) -> bool:
        """Return whether the content of a chunk is what was written. Raises WorkerError."""
        return digest(data) == self.recorded(index)

    async def read(
        self, wanted: bytearray, receive: Callable[[int, Content], None], choice: ModeChoice, runtime: Path
    ) -> None:
        """Read the wanted chunks, and call `receive` in any thread with the index and content of each.

        Raises WorkerError, Unproven for a layer that has another size than the disk, and what `receive` raises.
        """
        reading = Reading(self.root / self.stack[0].file, len(self.stack), self.chunks, wanted)
        with corruption_as_unproven():
            await read_chunks(reading, receive, choice, runtime, f"restore-{self.disk.index}")


async def open_source(root: Path, disk: RestoreDisk, stack: Stack, structure: StructureChecks) -> DiskSource:
    """Check the structure of a disk's layers and its digest list, and open the list.

    Raises Unproven, and WorkerError for failures that prove nothing.
    """
    layer = await structure.check(stack)
    with corruption_as_unproven():
        written = await asyncio.to_thread(open_list, root, stack[0])
    try:
        with corruption_as_unproven():
            check_digest_root(stack[0], await read_list(stack[0], written.root))
            zero = await read_list(stack[0], lambda: _zeroes(written))
    except BaseException:
        written.close()
        raise
    return DiskSource(root, disk, stack, written, layer, zero)


def _zeroes(written: DigestFile) -> bytearray:
    """Return 1 for each chunk whose digest is that of zeroes. Raises OSError."""
    found = bytearray(written.chunks.count)
    for first, page in written.pages():
        count = len(page) // DIGEST_SIZE
        zeroes = written.chunks.zeroes(first, count)
        for at in range(count):
            part = slice(at * DIGEST_SIZE, (at + 1) * DIGEST_SIZE)
            found[first + at] = page[part] == zeroes[part]
    return found
