"""The journal of a merge, and the lock of the pod that merges, in the folder `.consolidation` of a chain.

The journal names the merge from its beginning. Once the merged layer is proven and durable, the journal also gets the
manifest's new entry, and only then does anything of the chain change. From then on the merge can be finished without
the pod that began it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.logs import get_logger
from sendense_operator.task import Wire
from sendense_operator.worker.storage.chain_lock import try_lock
from sendense_operator.worker.storage.durable_io import (
    ensure_folder,
    fsync_path,
    is_folder,
    open_regular,
    read_regular,
    replace_durable,
)

log = get_logger(__name__)

_LIMIT: Final = 1 << 20
"""Largest size of a journal in bytes; one of 64 layers has about 10 KiB."""


class JournalError(ValueError):
    """The journal can't be read."""


class MergeJournal(Wire):
    """One merge. All paths are below the repository's root."""

    format: Literal["sendense.io/merge"] = "sendense.io/merge"
    version: Literal[1] = 1
    pod_uid: str
    """UID of the pod that began it."""
    backup_uid: str
    """UID of the Backup whose restore point's layer is replaced."""
    inputs: Annotated[tuple[str, ...], Field(min_length=2, max_length=64)]
    """Layers that become one, the uppermost first, whose name the new one gets."""
    root: str
    """Root of the disk's digests, which the new layer must read as."""
    entry: ManifestDisk | None = None
    """The disk's new entry in the manifest; None until the new layer is proven."""

    @field_validator("inputs")
    @classmethod
    def _inputs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            layout.check_layer_path(path)
        return value

    @property
    def layer(self) -> PurePosixPath:
        """Path of the layer that is replaced."""
        return PurePosixPath(self.inputs[0])

    @property
    def merged(self) -> PurePosixPath:
        """Path of the new layer until it takes that place."""
        return layout.partial(layout.merged_of(self.layer))


def journal_of(paths: ChainPaths) -> PurePosixPath:
    """Return the path of a chain's journal."""
    return paths.consolidation / layout.JOURNAL


def merge_lock_of(paths: ChainPaths) -> PurePosixPath:
    """Return the path of the lock of the pod that merges layers of a chain."""
    return paths.consolidation / layout.LOCK


def read_journal(root: Path, paths: ChainPaths) -> MergeJournal | None:
    """Return a chain's journal, None if there is none. Raises JournalError, OSError."""
    try:
        data = read_regular(root / journal_of(paths), _LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        journal = MergeJournal.model_validate_json(data)
    except ValidationError as error:
        raise JournalError(f"{journal_of(paths)} can't be read: {str(error)[:200]}") from error
    if not journal.layer.is_relative_to(paths.folder):
        raise JournalError(f"{journal_of(paths)} is about another chain: {journal.layer}")
    return journal


def write_journal(root: Path, paths: ChainPaths, journal: MergeJournal) -> None:
    """Write a chain's journal durably. Raises OSError."""
    ensure_folder(root / paths.consolidation, root)
    replace_durable(root / journal_of(paths), journal.model_dump_json(by_alias=True).encode())


def remove_journal(root: Path, paths: ChainPaths) -> None:
    """Remove a chain's journal durably. Raises OSError."""
    (root / journal_of(paths)).unlink(missing_ok=True)
    fsync_path(root / paths.consolidation)


def is_switching(root: Path, paths: ChainPaths) -> bool:
    """Return whether the chain is between two states, because a merge has begun to change it. Raises OSError.

    Its manifests and its layers may then contradict each other, which is no damage.
    """
    try:
        journal = read_journal(root, paths)
    except JournalError:
        return True
    return journal is not None and journal.entry is not None


@contextmanager
def unless_merging(root: Path, paths: ChainPaths) -> Iterator[bool]:
    """Provide whether no pod is merging layers of the chain; none begins until the block ends. Raises OSError."""
    if not is_folder(root / paths.consolidation):
        yield True  # a merge makes the folder before its files, and whoever sweeps holds the chain's lock
        return
    fd = open_regular(root / merge_lock_of(paths), os.O_RDWR | os.O_CREAT)
    try:
        yield try_lock(fd)
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
