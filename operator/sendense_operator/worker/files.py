"""Durable file operations. What these return from survives a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from sendense_operator.chain.layout import PARTIAL


def fsync_path(path: Path) -> None:
    """Flush a file's or a folder's own data."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_folder(path: Path, root: Path) -> None:
    """Make `path` and its parents below `root`, each entry durable in its parent."""
    missing: list[Path] = []
    while path != root and not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o770)
        fsync_path(folder.parent)


def write_durable(path: Path, data: bytes) -> None:
    """Write a new file and flush it; its entry in the folder is not flushed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o660)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durable(path: Path, data: bytes) -> None:
    """Write `path` so that it holds either what it held or all of `data`."""
    temporary = path.with_name(path.name + PARTIAL)
    write_durable(temporary, data)
    temporary.replace(path)
    fsync_path(path.parent)


class NotRegularError(OSError):
    """A link, a folder, a pipe or a device where a file should be."""


def open_regular(path: Path) -> int:
    """Descriptor of a file for reading, never of a link, and never waiting as a pipe would. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise NotRegularError(error.errno, "not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_regular(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a file. Raises OSError as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(limit)


def allocated(path: Path) -> int:
    """Bytes that a file takes on its file system; 0 for a file that is not there."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; none for a folder that is not there."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
