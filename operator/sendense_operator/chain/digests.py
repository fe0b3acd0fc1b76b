"""Digest lists: one blake3 digest for each 4 MiB of guest content, one root for each disk of a restore point."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from sendense_operator.chain.extents import chunk_count, chunk_length

DIGEST_SIZE: Final = 32


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """32 bytes for one chunk."""
    return blake3(data).digest()


def root_of(digests: bytes | bytearray) -> str:
    """Hex digest of a whole list. Raises ValueError when it isn't a list of digests."""
    if len(digests) % DIGEST_SIZE:
        raise ValueError(f"{len(digests)} bytes are no list of digests")
    return blake3(bytes(digests)).hexdigest()


class DigestList:
    """The digests of one disk of `size` bytes, filled in any order; chunks not filled count as zeroes."""

    def __init__(self, size: int, chunk: int) -> None:
        self.size, self.chunk = size, chunk
        self.count = chunk_count(size, chunk)
        self._list = bytearray(self._zero(chunk) * self.count)
        if self.count and chunk_length(self.count - 1, size, chunk) != chunk:
            self.put(self.count - 1, self._zero(chunk_length(self.count - 1, size, chunk)))

    @classmethod
    def from_bytes(cls, data: bytes, size: int, chunk: int) -> DigestList:
        """The list that `to_bytes` gave, of a disk of `size` bytes. Raises ValueError when its length does not fit."""
        digests = cls(size, chunk)
        if len(data) != len(digests._list):
            raise ValueError(f"{len(data)} bytes of digests, {len(digests._list)} expected")
        digests._list[:] = data
        return digests

    @staticmethod
    def _zero(length: int) -> bytes:
        return digest(bytes(length))

    def put(self, index: int, value: bytes) -> None:
        """The digest of chunk `index`. Raises IndexError or ValueError."""
        if not 0 <= index < self.count:
            raise IndexError(f"chunk {index} of {self.count}")
        if len(value) != DIGEST_SIZE:
            raise ValueError(f"a digest of {len(value)} bytes")
        self._list[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE] = value

    def put_zero(self, index: int) -> None:
        """Chunk `index` holds zeroes only."""
        self.put(index, self._zero(chunk_length(index, self.size, self.chunk)))

    def get(self, index: int) -> bytes:
        """The digest of chunk `index`."""
        return bytes(self._list[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE])

    def differences(self, other: DigestList) -> tuple[int, ...]:
        """Numbers of the chunks that two lists of one disk do not agree on."""
        if self._list == other._list:
            return ()
        return tuple(index for index in range(self.count) if self.get(index) != other.get(index))

    def to_bytes(self) -> bytes:
        """The list as it lies beside the layer."""
        return bytes(self._list)

    @property
    def root(self) -> str:
        """Hex digest of the list."""
        return root_of(self._list)
