"""The repository's marker file, its capacity, and the check that it can be written."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sendense_operator.answer import Capacity
from sendense_operator.chain.layout import MARKER, PARTIAL
from sendense_operator.worker.errors import NotRegularError, Reason, WorkerError, storage_error
from sendense_operator.worker.storage.durable_io import read_regular, replace_durable, write_durable
from sendense_operator.worker.storage.repository_listing import WRITE_TEST

FORMAT: Final = "sendense.io/repository"
VERSION: Final = 1
_IGNORED: Final = frozenset({"lost+found", MARKER + PARTIAL})
"""Names that an empty file system may hold."""
_MARKER_LIMIT: Final = 64 << 10


def read_marker(root: Path) -> str | None:
    """Return the repository's ID, None if there is no marker. Raises WorkerError."""
    try:
        data = read_regular(root / MARKER, _MARKER_LIMIT)
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        raise WorkerError(Reason.NOT_A_REPOSITORY, f"{MARKER} is not a regular file") from error
    except OSError as error:
        raise storage_error(error, f"reading {MARKER}") from error
    try:
        raw: Any = json.loads(data)
        found, version, identity = raw["format"], raw["version"], raw["id"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise WorkerError(Reason.NOT_A_REPOSITORY, f"{MARKER} can't be read: {error}") from error
    if found != FORMAT or not isinstance(version, int) or not isinstance(identity, str) or not identity:
        raise WorkerError(Reason.NOT_A_REPOSITORY, f"{MARKER} is not a marker of the format {FORMAT}")
    if version > VERSION:
        raise WorkerError(
            Reason.REPOSITORY_NEWER,
            f"the repository has version {version} of {FORMAT}, but this operator supports versions up to {VERSION}",
        )
    return identity


def open_repository(root: Path, expected_id: str) -> None:
    """Check that `root` is the repository with this ID. Raises WorkerError."""
    found = read_marker(root)
    if found is None:
        raise WorkerError(
            Reason.NOT_A_REPOSITORY,
            f"the volume holds no {MARKER}: check that the right volume is mounted and that the repository was Ready "
            "before",
        )
    if found != expected_id:
        raise WorkerError(
            Reason.REPOSITORY_CHANGED,
            f"the volume holds the repository with ID {found} instead of {expected_id}: another volume is mounted",
        )


def init_repository(root: Path, new_id: str, expected_id: str | None) -> str:
    """Return the ID of the repository at `root`; an empty folder becomes the repository `new_id`. Raises WorkerError.

    With `expected_id`, nothing is ever initialized: if a known repository appears empty, its volume is not mounted or
    another one is.
    """
    found = read_marker(root)
    if expected_id is not None:
        open_repository(root, expected_id)
        return expected_id
    if found is not None:
        return found
    foreign = [name for name in _listing(root) if name not in _IGNORED]
    if foreign:
        raise WorkerError(
            Reason.NOT_A_REPOSITORY,
            f"the volume holds no {MARKER} but is not empty ({foreign[0]!r} and {len(foreign) - 1} more entries): "
            "give the repository an empty volume or an empty folder (spec.path)",
        )
    marker = {
        "format": FORMAT,
        "version": VERSION,
        "id": new_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        replace_durable(root / MARKER, (json.dumps(marker, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise storage_error(error, f"writing {MARKER}") from error
    return new_id


def _listing(root: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in root.iterdir())
    except OSError as error:
        raise storage_error(error, "listing the volume") from error


def check_writable(root: Path, tag: str) -> None:
    """Write and remove a small file. Raises WorkerError (ReadOnly, RepositoryFull, StorageError)."""
    path = root / f"{WRITE_TEST}{tag}{PARTIAL}"
    try:
        write_durable(path, b"sendense\n" * 512)
        path.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise storage_error(error, "writing a test file to the volume") from error


def capacity(root: Path) -> Capacity:
    """Return the capacity of the file system for an ordinary user. Raises WorkerError."""
    try:
        stat = os.statvfs(root)
    except OSError as error:
        raise storage_error(error, "reading the volume's free space") from error
    return Capacity(
        total=stat.f_blocks * stat.f_frsize,
        free=stat.f_bavail * stat.f_frsize,
        free_files=stat.f_favail if stat.f_files else None,
    )
