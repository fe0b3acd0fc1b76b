"""A disk that is restored, wherever it is read from: the digests that it must have, and what is known to be damaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import or_
from pathlib import Path

from sendense_operator.chain.digests import DIGEST_SIZE, Chunks, digest, zero_digest
from sendense_operator.chain.extents import chunk_length, inverted
from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.errors import storage_error
from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.digest_file import DigestFile


@dataclass
class DigestedDisk(ABC):
    """What is read of one disk. Each array has one byte per chunk."""

    disk: RestoreDisk
    written: DigestFile
    """Digests of the content as it was written."""
    zero: bytearray
    """1 for chunks that were zeroes when they were written."""
    damaged: bytearray = field(init=False)
    """1 for chunks that were found to be damaged."""

    def __post_init__(self) -> None:
        self.damaged = bytearray(self.chunks.count)

    @property
    @abstractmethod
    def name(self) -> str:
        """What is read, for messages."""

    @property
    @abstractmethod
    def lost(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written, but that are known to have no data any more."""

    @property
    @abstractmethod
    def stored(self) -> bytearray:
        """1 for chunks that are read to prove the whole disk."""

    @abstractmethod
    async def read(
        self, wanted: bytearray, receive: Callable[[int, Content], None], choice: ModeChoice, runtime: Path
    ) -> None:
        """Read the wanted chunks, and call `receive` in any thread with the index and content of each.

        Raises WorkerError, Unproven for a disk that can't be read as it was written, and what `receive` raises.
        """

    @property
    def chunks(self) -> Chunks:
        """The chunks of the disk."""
        return self.written.chunks

    @property
    def content(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written."""
        return inverted(self.zero)

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

    def unproven(self, chunks: tuple[int, ...]) -> Unproven:
        """Return the finding that chunks do not read as they were written."""
        start = chunks[0] * self.chunks.chunk
        text = f"{self.name}: the content at byte {start} of the disk is not what was written"
        return Unproven(text, chunks=chunks)

    def is_as_written(self, index: int, data: Content) -> bool:
        """Return whether the content of a chunk is what was written. Raises WorkerError."""
        return digest(data) == self.recorded(index)


def zero_chunks(written: DigestFile) -> bytearray:
    """Return 1 for each chunk whose digest is that of zeroes. Raises OSError."""
    found = bytearray(written.chunks.count)
    for first, page in written.pages():
        count = len(page) // DIGEST_SIZE
        zeroes = written.chunks.zeroes(first, count)
        for at in range(count):
            part = slice(at * DIGEST_SIZE, (at + 1) * DIGEST_SIZE)
            found[first + at] = page[part] == zeroes[part]
    return found
