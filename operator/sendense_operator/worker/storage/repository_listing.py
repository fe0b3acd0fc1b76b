"""Listing of a repository's namespace folders and chains, and of anything beside them."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.api.v1alpha1.names import is_object_name
from sendense_operator.chain import layout
from sendense_operator.logs import get_logger

log = get_logger(__name__)

WRITE_TEST: Final = ".sendense-write-"
_OF_A_CHAIN: Final = frozenset({layout.LOCK, layout.OWNER, layout.BACKUPS, layout.TOMBSTONES, layout.QUARANTINE})
_OURS: Final = frozenset({layout.MARKER, layout.MARKER + layout.PARTIAL, "lost+found"})
_ROOT_PARTIAL: Final = re.compile(rf"^({re.escape(WRITE_TEST)}[0-9a-z-]+|{re.escape(layout.MARKER)}){layout.PARTIAL}$")
_STALE: Final = 3600.0
"""Seconds after which a write test or a partial marker is a leftover. They are written without a lock, in
milliseconds."""


@dataclass(frozen=True)
class FolderListing:
    """Entries of a folder."""

    names: tuple[str, ...] = ()
    """Folders of namespaces or of chains, sorted."""
    unknown: int = 0
    """Number of other entries."""


def list_root(root: Path) -> FolderListing:
    """Return the folders below `root` that may be those of namespaces. Raises OSError."""
    names, unknown = list[str](), 0
    with os.scandir(root) as entries:
        for entry in entries:
            if is_object_name(entry.name) and entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            elif entry.name not in _OURS and not _ROOT_PARTIAL.fullmatch(entry.name):
                unknown += 1
    return FolderListing(tuple(sorted(names)), unknown)


def list_chains(root: Path, folder: str) -> FolderListing:
    """Return the chains in a namespace's folder; none if there is no such folder. Raises OSError."""
    names, unknown = list[str](), 0
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if is_object_name(entry.name) and entry.is_dir(follow_symlinks=False) and _is_chain(Path(entry.path)):
                    names.append(entry.name)
                else:
                    unknown += 1
    except (FileNotFoundError, NotADirectoryError):
        return FolderListing()
    return FolderListing(tuple(sorted(names)), unknown)


def _is_chain(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name in _OF_A_CHAIN or layout.is_disk_folder(entry.name) for entry in entries)
    except OSError as error:
        log.warning("folder can't be listed", folder=folder, error=error.strerror)
        return True  # reading the chain will report the error


def sweep_root(root: Path) -> int:
    """Remove write tests and partial markers of killed pods, and return their number. Raises OSError."""
    swept = 0
    with os.scandir(root) as entries:
        stale = [
            Path(entry.path)
            for entry in entries
            if _ROOT_PARTIAL.fullmatch(entry.name)
            and entry.is_file(follow_symlinks=False)
            and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE
        ]
    for path in stale:
        log.info("removing a file of an earlier attempt", file=path.name)
        path.unlink(missing_ok=True)
        swept += 1
    return swept
