"""Files and folders of a repository. What a durable operation returns from survives a power cut.

Others may write to the volume as well, so no link is ever followed below its root, and nothing is opened that may
make the opener wait.
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
"""A link is an error, and a pipe is not waited on."""


def fsync_path(path: Path) -> None:
    """Flush a file's or a folder's own data. Raises OSError, NotRegularError for anything else."""
    fd = _open(path, os.O_RDONLY)
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise NotRegularError(errno.EINVAL, "neither a file nor a folder", str(path))
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_folder(path: Path, root: Path) -> None:
    """Make `path` and its parents below `root`, each entry durable in its parent.

    Raises OSError, NotADirectoryError where something else, a link included, stands in the way.
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
    """Return the descriptor of a new, empty file that replaces any file, link or pipe in its place. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, mode)


def write_durable(path: Path, data: bytes) -> None:
    """Write a new file and flush it; its entry in the folder is not flushed."""
    with os.fdopen(open_new(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durable(path: Path, data: bytes) -> None:
    """Write `path` so that it holds either what it held or all of `data`."""
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
    """Return the descriptor of a file, never of a link, and never waiting as a pipe would. Raises OSError."""
    fd = _open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_regular(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a file. Raises OSError as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(limit)


def is_regular(path: Path) -> bool:
    """Return whether there is a file, which a link to one is not. Raises OSError where that can't be determined."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder, which a link to one is not. Raises OSError where that can't be determined."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def allocated(path: Path) -> int:
    """Return the bytes that a file takes on its file system; 0 for a file that is not there."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def list_names(folder: Path) -> list[str]:
    """Sorted names in a folder. Raises OSError: FileNotFoundError, NotADirectoryError for a link or a file."""
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
    """As `list_names`; none for a folder that is not there, or is none."""
    try:
        return list_names(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
