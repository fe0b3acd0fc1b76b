"""Operations on files and folders of a repository. After a durable operation has returned, its effect survives a crash.

Others may write to the volume, too. Therefore no link below the repository's root is followed, and nothing is opened
that can block, such as a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from sendense_operator.chain.layout import PARTIAL
from sendense_operator.worker.errors import NotRegularError

_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Flags of every open: a link is an error, and a pipe does not block."""


def fsync_path(path: Path) -> None:
    """Flush a file or the entries of a folder. Raises OSError, NotRegularError for anything else."""
    fd = _open(path, os.O_RDONLY)
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise NotRegularError(errno.EINVAL, "neither a file nor a folder", str(path))
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_folder(path: Path, root: Path) -> None:
    """Create the folder `path` and its parents below `root`, each durably.

    Raises OSError; NotADirectoryError if a file or link has the name of one of them.
    """
    parents = [folder for folder in path.parents if folder.is_relative_to(root) and folder != root]
    for folder in [*reversed(parents), *([path] if path != root else [])]:
        if is_folder(folder):
            continue
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o770)
        if not is_folder(folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder but a file or a link", str(folder))
        fsync_path(folder.parent)


def open_new(path: Path, mode: int = 0o660) -> int:
    """Create an empty file, replacing any file, link or pipe, and return its descriptor. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, mode)


def write_durable(path: Path, data: bytes) -> None:
    """Write a new file and flush it, but not its entry in the folder. Raises OSError."""
    with os.fdopen(open_new(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durable(path: Path, data: bytes) -> None:
    """Replace the content of `path` atomically and durably. Raises OSError."""
    temporary = path.with_name(path.name + PARTIAL)
    write_durable(temporary, data)
    temporary.replace(path)
    fsync_path(path.parent)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | _SAFE, 0o660)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise NotRegularError(error.errno, "not a regular file", str(path)) from error
        raise


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without following links and without blocking; return its descriptor. Raises OSError."""
    fd = _open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_regular(path: Path, limit: int) -> bytes:
    """Return at most the first `limit` bytes of a regular file. Raises OSError as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(limit)


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file and no link. Raises OSError if that can't be determined."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder and no link. Raises OSError if that can't be determined."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def allocated(path: Path) -> int:
    """Return the bytes that a file occupies on its file system; 0 if it does not exist."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def list_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder. Raises OSError: FileNotFoundError, NotADirectoryError for a link or file."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "not a folder but a link", str(folder)) from error
        raise
    try:
        with os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(fd)


def names_in(folder: Path) -> list[str]:
    """Return the names as `list_names` does; none if there is no such folder. Raises other OSErrors."""
    try:
        return list_names(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
