"""A digest list in a file. It is never held in memory, where it would take 8 MiB per TiB of its disk.

All methods block, so callers on the event loop use a thread. All methods raise OSError.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from blake3 import blake3

from sendense_operator.chain.digests import DIGEST_SIZE, Chunks
from sendense_operator.worker.storage.durable_io import open_new, open_regular

PAGE: Final = 4096
"""Number of chunks whose digests are read or written at once: 128 KiB."""


class DigestFile:
    """The digests of one disk by chunk index; threads may `put` and `get` at the same time."""

    def __init__(self, descriptor: int, chunks: Chunks) -> None:
        self._fd, self.chunks = descriptor, chunks
        self._lock = threading.Lock()
        """A thread may outlive its caller. After `close` it must not use the descriptor, which may be another file."""

    @classmethod
    def create(cls, path: Path, chunks: Chunks) -> DigestFile:
        """Create an empty list, replacing an existing one. `fill_zeroes` or `copy` must follow."""
        return cls(open_new(path), chunks)

    @classmethod
    def open(cls, path: Path, chunks: Chunks) -> DigestFile:
        """Open a list for reading. Raises ValueError if its length does not match the number of chunks."""
        descriptor = open_regular(path)
        length = os.fstat(descriptor).st_size
        if length != chunks.list_bytes:
            os.close(descriptor)
            raise ValueError(f"the digest list has {length} bytes instead of {chunks.list_bytes}")
        return cls(descriptor, chunks)

    def __enter__(self) -> DigestFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file without flushing it. May be called repeatedly."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def fill_zeroes(self) -> None:
        """Set all digests to those of chunks of zeroes."""
        for first in range(0, self.chunks.count, PAGE):
            self.put_zeroes(first, min(PAGE, self.chunks.count - first))

    def copy(self, source: DigestFile) -> str:
        """Copy the list `source`, and return the root of what was copied."""
        root = blake3()
        for first, page in source.pages():
            root.update(page)
            self._write(page, first)
        return root.hexdigest()

    def put(self, index: int, value: bytes) -> None:
        """Set the digest of chunk `index` to `value`. Raises IndexError, ValueError."""
        if not 0 <= index < self.chunks.count:
            raise IndexError(f"chunk {index} of {self.chunks.count}")
        if len(value) != DIGEST_SIZE:
            raise ValueError(f"a digest has {len(value)} bytes instead of {DIGEST_SIZE}")
        self._write(value, index)

    def put_zeroes(self, first: int, count: int) -> None:
        """Set the digests of `count` chunks from `first` on to those of chunks of zeroes."""
        while count > 0:
            some = min(PAGE, count)
            self._write(self.chunks.zeroes(first, some), first)
            first, count = first + some, count - some

    def get(self, index: int) -> bytes:
        """Return the digest of chunk `index`."""
        return self._read(index, 1)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index of the first chunk, concatenated digests) for all chunks, PAGE chunks at a time."""
        for first in range(0, self.chunks.count, PAGE):
            yield first, self._read(first, min(PAGE, self.chunks.count - first))

    def root(self) -> str:
        """Return the root: the hex digest of the whole list."""
        root = blake3()
        for _, page in self.pages():
            root.update(page)
        return root.hexdigest()

    def sync(self) -> None:
        """Make everything durable that was written."""
        with self._lock:
            os.fsync(self._fd)

    def _write(self, data: bytes, first: int) -> None:
        with self._lock:
            written = os.pwrite(self._fd, data, first * DIGEST_SIZE)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _read(self, first: int, count: int) -> bytes:
        with self._lock:
            data = os.pread(self._fd, count * DIGEST_SIZE, first * DIGEST_SIZE)
        if len(data) != count * DIGEST_SIZE:
            # The length was correct when the file was opened: the storage is at fault, not the restore point.
            raise OSError(errno.ESTALE, "the digest list became shorter while it was read")
        return data
