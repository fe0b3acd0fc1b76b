"""Copy of a layer's file: shared blocks where the file system offers them, otherwise the data without the holes."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from sendense_operator.worker.images.merge_pace import Pace

_FICLONE: Final = 0x40049409
"""ioctl of linux/fs.h: let a file share all blocks of another one."""
_PIECE: Final = 4 << 20
_BLOCK: Final = 64 << 10
"""Bytes that are left out if they are zeroes, where the file system does not tell where the holes are."""
_ZEROES: Final = bytes(_BLOCK)
_NO_CLONE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM})
_NO_COPY: Final = _NO_CLONE | {errno.EBADF, errno.EIO}
"""Errors after which a piece is read and written instead; what is wrong with the storage then shows there."""


def copy_file(source: int, target: int, pace: Pace) -> int:
    """Copy the file of descriptor `source` to the empty one of `target`, and return the bytes that were written.

    It is 0 if both share their blocks. The target is not flushed. Raises OSError, and what `pace` raises.
    """
    pace.before_chunk()
    if _clone(source, target):
        return 0
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    tells = _tells_holes(source)
    return sum(_copy_piece(source, target, piece, tells, pace) for piece in _pieces(source, size))


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    return True


def _pieces(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of parts of the file's data, each at most _PIECE bytes long."""
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # only a hole is left
        end = os.lseek(source, start, os.SEEK_HOLE)
        while start < end:
            stop = min(end, (start // _PIECE + 1) * _PIECE)
            yield start, stop
            start = stop


def _tells_holes(source: int) -> bool:
    """Return whether the file system tells where the file's holes are, or it has none."""
    found = os.fstat(source)
    return found.st_blocks * 512 >= found.st_size or os.lseek(source, 0, os.SEEK_HOLE) < found.st_size


def _copy_piece(source: int, target: int, piece: tuple[int, int], in_kernel: bool, pace: Pace) -> int:
    start, end = piece
    pace.before_chunk()
    pace.take(end - start)
    written = 0
    at = _copy_in_kernel(source, target, start, end) if in_kernel else start
    written += at - start
    while at < end:
        data = os.pread(source, end - at, at)
        if not data:
            raise OSError(errno.ESTALE, "the file became shorter while it was copied")
        written += _write(target, data, at)
        at += len(data)
    pace.advance(end - start)
    return written


def _copy_in_kernel(source: int, target: int, start: int, end: int) -> int:
    """Return up to where the kernel has copied the piece."""
    at = start
    while at < end:
        try:
            count = os.copy_file_range(source, target, end - at, at, at)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
            return at
        if count == 0:
            return at
        at += count
    return at


def _write(target: int, data: bytes, at: int) -> int:
    """Write `data` at `at` except blocks of zeroes, and return the bytes that were written."""
    written = 0
    for first in range(0, len(data), _BLOCK):
        block = data[first : first + _BLOCK]
        if block == _ZEROES[: len(block)]:
            continue
        done = 0
        while done < len(block):
            done += os.pwrite(target, block[done:], at + first + done)
        written += len(block)
    return written
