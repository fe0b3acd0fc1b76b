"""The image that a restore writes: sparse, with O_DIRECT where the file system takes it.

All methods block, so callers on the event loop use a thread, except `close`. All methods raise OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sendense_operator.chain.extents import chunk_count
from sendense_operator.worker.storage.durable_io import fsync_path, open_regular

BLOCK: Final = 64 << 10
"""Granularity in bytes at which zeroes are left out."""
_ZEROES: Final = bytes(BLOCK)
_ALIGNMENT: Final = 4096
"""Alignment of direct I/O that every device takes."""
_MODE: Final = 0o660
_NO_MORE_DATA: Final = errno.ENXIO
_buffers: Final = threading.local()
"""A buffer per thread for all images, aligned for direct I/O."""


class TargetFile:
    """An image of `virtual_size` bytes; threads may read and write it at the same time.

    The size is 0 if the length of the file is not known before it is written.
    """

    def __init__(self, path: Path, fd: int, virtual_size: int, chunk: int) -> None:
        self._fd, self._size, self._chunk = fd, virtual_size, chunk
        self._direct = _open_direct(path, fd)
        # Without a length, the file is appended to, at positions that are not aligned.
        self._writes_directly = virtual_size > 0
        self._idle = threading.Condition()
        self._users = 0
        """Threads inside a method. One may outlive its caller: after `close` it must not use the descriptors."""

    @classmethod
    def create(cls, path: Path, virtual_size: int, chunk: int) -> TargetFile:
        """Create an image of zeroes that occupies no space. Raises FileExistsError if there is something."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        with contextlib.suppress(OSError):
            os.fchmod(fd, _MODE)  # whatever the umask is; some file systems have no modes
        return cls._sized(path, fd, virtual_size, chunk)

    @classmethod
    def resume(cls, path: Path, virtual_size: int, chunk: int) -> TargetFile:
        """Open the image of an earlier attempt for writing. Raises NotRegularError for a link, pipe or folder."""
        return cls._sized(path, open_regular(path, os.O_RDWR), virtual_size, chunk)

    @classmethod
    def examine(cls, path: Path, virtual_size: int, chunk: int) -> TargetFile:
        """Open a finished image for reading only. Raises NotRegularError for a link, pipe or folder."""
        return cls(path, open_regular(path), virtual_size, chunk)

    @classmethod
    def _sized(cls, path: Path, fd: int, virtual_size: int, chunk: int) -> TargetFile:
        try:
            os.ftruncate(fd, virtual_size)
            os.fsync(fd)
            fsync_path(path.parent)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, virtual_size, chunk)

    def stat(self) -> os.stat_result:
        """Return the file's attributes."""
        with self._using():
            return os.fstat(self._fd)

    def is_at(self, path: Path) -> bool:
        """Return whether the path leads to this file, and is no link."""
        return os.path.samestat(self.stat(), path.lstat())

    def write(self, offset: int, data: bytes | bytearray | memoryview, *, blank: bool) -> int:
        """Write `data` at `offset`, a multiple of BLOCK, and return how many bytes were not left out.

        `blank`: whether the file holds nothing but zeroes there, so that blocks of zeroes need not be written.
        """
        with self._using():
            view = self._buffer(len(data))
            view[: len(data)] = data
            written = 0
            for start, end in filled(view[: len(data)]) if blank else [(0, len(data))]:
                self._write(view[start:end], offset + start)
                written += end - start
            return written

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write `length` bytes of zeroes at `offset`, a multiple of BLOCK."""
        self.write(offset, bytes(length), blank=False)

    def read(self, offset: int, length: int) -> memoryview:
        """Return `length` bytes from `offset`, a multiple of BLOCK, on; valid until the thread's next call.

        Raises OSError ESTALE if the file is shorter.
        """
        with self._using():
            view = self._buffer(length)
            done = 0
            if self._direct is not None:
                with contextlib.suppress(OSError):  # an error that persists is found by the read that follows
                    done = min(length, os.preadv(self._direct, [view], offset))
            while done < length:
                count = os.preadv(self._fd, [view[done:length]], offset + done)
                if count == 0:
                    raise OSError(errno.ESTALE, "the image became shorter while it was read")
                done += count
            return view[:length]

    def peek(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset` on, less at the end of the file."""
        with self._using():
            return os.pread(self._fd, length, offset)

    def data_chunks(self) -> bytearray:
        """Return one byte per chunk: 0 if the file system knows that the file has nothing but a hole there."""
        with self._using():
            found = bytearray(chunk_count(self._size, self._chunk))
            at = 0
            while at < self._size:
                try:
                    start = os.lseek(self._fd, at, os.SEEK_DATA)
                except OSError as error:
                    if error.errno == _NO_MORE_DATA:
                        break
                    raise
                at = min(self._size, os.lseek(self._fd, start, os.SEEK_HOLE))
                first, last = start // self._chunk, (at - 1) // self._chunk
                found[first : last + 1] = b"\1" * (last - first + 1)
            return found

    def settle(self) -> None:
        """Make everything durable that was written, and drop it from the page cache, so that it is read back."""
        with self._using():
            os.fsync(self._fd)
            self._drop()

    def drop_cache(self) -> None:
        """Drop the content from the page cache."""
        with self._using():
            self._drop()

    def close(self) -> None:
        """Close the file as soon as no thread is inside a method. May be called repeatedly."""
        with self._idle:
            self._idle.wait_for(lambda: not self._users)
            for fd in (self._fd, self._direct):
                if fd is not None and fd >= 0:
                    os.close(fd)
            self._fd, self._direct = -1, None

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._idle:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the image is closed")
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def _drop(self) -> None:
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _buffer(self, length: int) -> memoryview:
        """Return this thread's buffer, whose length is aligned, too, and holds at least `length` bytes."""
        needed = -(-length // _ALIGNMENT) * _ALIGNMENT
        view: memoryview | None = getattr(_buffers, "view", None)
        if view is None or len(view) < needed:
            view = memoryview(mmap.mmap(-1, max(needed, self._chunk)))
            _buffers.view = view
        return view[:needed]

    def _write(self, view: memoryview, offset: int) -> None:
        done = 0
        aligned = len(view) // _ALIGNMENT * _ALIGNMENT
        if self._direct is not None and self._writes_directly and aligned:
            try:
                done = os.pwrite(self._direct, view[:aligned], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # A larger alignment than ours: the rest of the image is written through the page cache.
                self._writes_directly = False
        while done < len(view):
            count = os.pwrite(self._fd, view[done:], offset + done)
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += count


def _open_direct(path: Path, fd: int) -> int | None:
    """Return a second descriptor of the same file for direct I/O, None if its file system has none."""
    mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    try:
        direct = open_regular(path, mode | os.O_DIRECT)
    except OSError:
        return None
    if os.path.sameopenfile(fd, direct):
        return direct
    os.close(direct)
    return None


def filled(view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of blocks that are not all zeroes."""
    start: int | None = None
    for at in range(0, len(view), BLOCK):
        block = view[at : at + BLOCK]
        is_zero = block[0] == 0 and bytes(block) == _ZEROES[: len(block)]
        if is_zero and start is not None:
            yield start, at
            start = None
        elif not is_zero and start is None:
            start = at
    if start is not None:
        yield start, len(view)
