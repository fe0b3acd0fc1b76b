"""Listing of the disk folders of a chain."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.qcow2 import HEADER_BYTES
from sendense_operator.worker.storage.durable_io import read_regular


@dataclass(frozen=True)
class DiskFiles:
    """All entries of the folders `disk-*`, by their paths below the repository's root."""

    files: dict[str, DiskFile] = field(default_factory=dict)
    odd: tuple[str, ...] = ()
    """Entries that are not regular files, such as links and folders."""
    vanished: tuple[str, ...] = ()
    """Files that were listed but did not exist when they were read; see `ChainFolder.vanished`."""


def read_disk_files(root: Path, paths: ChainPaths) -> DiskFiles:
    """List the disk folders and read the header of each image. Raises OSError if a folder can't be listed completely.

    For a file that can't be read, the error is in its `flaw`.
    """
    found, odd, vanished = dict[str, DiskFile](), list[str](), list[str]()
    for folder in _disk_folders(root, paths):
        with os.scandir(root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = str(folder / entry.name)
                try:
                    if entry.is_file(follow_symlinks=False):
                        found[path] = _read(entry)
                    else:
                        odd.append(path)
                except FileNotFoundError:
                    vanished.append(path)  # normal without the lock: a partial was renamed, or a file was freed
                except OSError as error:
                    found[path] = DiskFile(flaw=f"can't be read: {error.strerror}", is_opaque=True)
    return DiskFiles(found, tuple(odd), tuple(vanished))


def _disk_folders(root: Path, paths: ChainPaths) -> list[PurePosixPath]:
    try:
        with os.scandir(root / paths.folder) as entries:
            names = [
                entry.name
                for entry in entries
                if layout.is_disk_folder(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
    return [paths.folder / name for name in sorted(names)]


def _read(entry: os.DirEntry[str]) -> DiskFile:
    state = entry.stat(follow_symlinks=False)
    # A digest list has no header; only its length is checked.
    head = b"" if entry.name.endswith(layout.DIGESTS) else read_regular(Path(entry.path), HEADER_BYTES)
    return DiskFile.of(head, state.st_size, state.st_blocks * 512)
