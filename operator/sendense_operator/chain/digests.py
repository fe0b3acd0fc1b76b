"""Digest lists: one blake3 digest per chunk of 4 MiB of guest content, and one root per disk of a restore point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from blake3 import blake3

from sendense_operator.chain.extents import chunk_count, chunk_length

DIGEST_SIZE: Final = 32


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of one chunk, 32 bytes."""
    return blake3(data).digest()


@lru_cache(maxsize=8)
def zero_digest(length: int) -> bytes:
    """Return the digest of `length` bytes of zeroes; cached, because a sparse disk has millions of such chunks."""
    return digest(bytes(length))


@dataclass(frozen=True)
class Chunks:
    """The chunks of `chunk` bytes of a disk of `virtual_size` bytes; the last one may be shorter."""

    virtual_size: int
    chunk: int

    @property
    def count(self) -> int:
        """Number of chunks."""
        return chunk_count(self.virtual_size, self.chunk)

    @property
    def list_bytes(self) -> int:
        """Length of the digest list in bytes."""
        return self.count * DIGEST_SIZE

    def zeroes(self, first: int, count: int) -> bytes:
        """Return the concatenated digests of `count` chunks of zeroes from index `first` on. Raises IndexError."""
        if not 0 <= first <= first + count <= self.count:
            raise IndexError(f"chunks {first} to {first + count} of {self.count}")
        last = first + count - 1
        if count and last == self.count - 1:
            end = zero_digest(chunk_length(last, self.virtual_size, self.chunk))
            return zero_digest(self.chunk) * (count - 1) + end
        return zero_digest(self.chunk) * count
