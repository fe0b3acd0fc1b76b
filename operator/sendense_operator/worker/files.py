"""Durable file operations. What these return from survives a power cut."""

from __future__ import annotations

import contextlib
import os
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
