"""Paths in a repository. They consist of Kubernetes object names only, which are checked here again.

    <root>/.sendense-repository.json
    <root>/<namespace>/<protectedvm>/.lock                                  locked by the writer of the chain, empty
    <root>/<namespace>/<protectedvm>/.owner                                 pod UID of the writer
    <root>/<namespace>/<protectedvm>/disk-0/full-20251005-120000.qcow2
    <root>/<namespace>/<protectedvm>/disk-0/full-20251005-120000.qcow2.digests
    <root>/<namespace>/<protectedvm>/backups/<backup-name>.json
    <root>/<namespace>/<protectedvm>/backups/<backup-name>.json.unfit       marks: why it can't be a parent
    <root>/<namespace>/<protectedvm>/.tombstones/<backup-name>.<uid>.json   removed, but its layers are not all freed
    <root>/<namespace>/<protectedvm>/.quarantine/<time>/<folder>/<file>     orphans
    <root>/<namespace>/<protectedvm>/.consolidation/.lock                   locked by the pod that merges layers
    <root>/<namespace>/<protectedvm>/.consolidation/.owner                  its UID
    <root>/<namespace>/<protectedvm>/.consolidation/journal.json            the merge that it works on
    <root>/<namespace>/<protectedvm>/.pins/.lock                            locked while pins are made or heeded
    <root>/<namespace>/<protectedvm>/.pins/<pod-uid>                        layers that a verification reads, locked

All paths here are relative to the repository's root. Files that are not committed end in `.partial`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from sendense_operator.api.v1alpha1.names import is_object_name
from sendense_operator.task import BackupType

MARKER: Final = ".sendense-repository.json"
LOCK: Final = ".lock"
OWNER: Final = ".owner"
BACKUPS: Final = "backups"
PARTIAL: Final = ".partial"
DIGESTS: Final = ".digests"
COMPACT: Final = ".compact"
MERGED: Final = ".merged"
UNFIT: Final = ".unfit"
TOMBSTONES: Final = ".tombstones"
QUARANTINE: Final = ".quarantine"
PINS: Final = ".pins"
CONSOLIDATION: Final = ".consolidation"
JOURNAL: Final = "journal.json"
MANIFEST_SUFFIX: Final = ".json"

_PREFIXES: Final = {BackupType.FULL: "full", BackupType.INCREMENTAL: "incr"}
_DISK: Final = re.compile(r"^disk-(0|[1-9][0-9]{0,2})$")
_STEM: Final = re.compile(r"^(full|incr)-[0-9]{8}-[0-9]{6}(-[0-9]{1,3})?$")
_LAYER: Final = re.compile(_STEM.pattern.removesuffix("$") + r"\.qcow2$")
_UID: Final = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_OBJECT: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_MANIFEST: Final = re.compile(rf"^{_OBJECT}(\.{_UID.pattern.strip('^$')})?\.json$")
_TOMBSTONE: Final = re.compile(rf"^{_OBJECT}\.{_UID.pattern.strip('^$')}(\.[0-9]{{1,4}})?\.json$")
_PARTIAL_NAME: Final = re.compile(
    rf"^({_LAYER.pattern.strip('^$')}(\.digests|\.compact|\.merged)?|{_MANIFEST.pattern.strip('^$')}(\.unfit)?)\.partial$"
)
_MAX_COLLISIONS: Final = 999
_FOLDER: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$")


class LayoutError(ValueError):
    """A name is not allowed in a path."""


@dataclass(frozen=True)
class ChainPaths:
    """Paths of the chain of one ProtectedVM. Raises LayoutError for names that are not DNS-1123 labels."""

    namespace: str
    vm: str

    def __post_init__(self) -> None:
        check_folder(self.namespace)
        check_folder(self.vm)

    @property
    def folder(self) -> PurePosixPath:
        """Folder of the chain."""
        return PurePosixPath(self.namespace) / self.vm

    @property
    def lock(self) -> PurePosixPath:
        """Lock file of the chain, which allows one writer at a time."""
        return self.folder / LOCK

    @property
    def backups(self) -> PurePosixPath:
        """Folder of the manifests."""
        return self.folder / BACKUPS

    @property
    def tombstones(self) -> PurePosixPath:
        """Folder of the manifests of removed restore points."""
        return self.folder / TOMBSTONES

    @property
    def quarantine(self) -> PurePosixPath:
        """Folder of the orphans that were moved away."""
        return self.folder / QUARANTINE

    @property
    def pins(self) -> PurePosixPath:
        """Folder of the pins, each of which keeps layers from being freed while a pod reads them."""
        return self.folder / PINS

    @property
    def consolidation(self) -> PurePosixPath:
        """Folder of the lock and the journal of a consolidation."""
        return self.folder / CONSOLIDATION

    def pin(self, reader: str) -> PurePosixPath:
        """Return the path of the pin of the pod with the UID `reader`. Raises LayoutError."""
        if not is_pin(reader):
            raise LayoutError(f"not a UID: {reader!r}")
        return self.pins / reader

    def tombstone(self, backup: str, uid: str, number: int = 1) -> PurePosixPath:
        """Return the path of a Backup's tombstone, which exists until its layers are freed; `number`: counts from 1."""
        name = self.manifests(backup, uid)[1].name
        return self.tombstones / (name if number == 1 else name.replace(MANIFEST_SUFFIX, f".{number}{MANIFEST_SUFFIX}"))

    def disk(self, index: int) -> PurePosixPath:
        """Return the folder of one disk's layers. Raises LayoutError."""
        if not 0 <= index < 1000:
            raise LayoutError(f"not a disk index: {index}")
        return self.folder / f"disk-{index}"

    def manifests(self, backup: str, uid: str) -> tuple[PurePosixPath, PurePosixPath]:
        """Return the two possible paths of a Backup's manifest, the preferred one first. Raises LayoutError.

        The second one is for a Backup whose name was used before, so that the older restore point keeps its manifest.
        They never collide with those of other Backups, because an object's name contains no dot.
        """
        check_backup(backup, uid)
        return (
            self.backups / f"{backup}{MANIFEST_SUFFIX}",
            self.backups / f"{backup}.{uid}{MANIFEST_SUFFIX}",
        )


def layer_stem(kind: BackupType, at: datetime, collision: int = 0) -> str:
    """Return the name of a layer without its suffix, such as `full-20251005-120000`; a second one ends in `-2`.

    `at` must have a time zone; names are in UTC. Raises LayoutError.
    """
    if at.tzinfo is None:
        raise LayoutError("a layer's time needs a time zone")
    if not 0 <= collision < _MAX_COLLISIONS:
        raise LayoutError(f"too many layers of the same name: {collision}")
    stem = f"{_PREFIXES[kind]}-{at.astimezone(UTC):%Y%m%d-%H%M%S}"
    return f"{stem}-{collision + 1}" if collision else stem


def layer_name(stem: str) -> str:
    """Return the file name of a committed layer. Raises LayoutError."""
    if not _STEM.fullmatch(stem):
        raise LayoutError(f"not the name of a layer: {stem!r}")
    return f"{stem}.qcow2"


def free_stem(kind: BackupType, at: datetime, taken: frozenset[str]) -> str:
    """Return the first stem that is not in use; `taken`: file names in all disk folders. Raises LayoutError."""
    for collision in range(_MAX_COLLISIONS):
        stem = layer_stem(kind, at, collision)
        if not any(name.startswith(f"{stem}.") for name in taken):
            return stem
    raise LayoutError(f"too many layers of the same name at {at}")


def partial(path: PurePosixPath) -> PurePosixPath:
    """Return the path that a file has before it is committed."""
    return path.with_name(path.name + PARTIAL)


def digests_of(layer: PurePosixPath) -> PurePosixPath:
    """Return the path of a layer's digest list."""
    return layer.with_name(layer.name + DIGESTS)


def compact_of(layer: PurePosixPath) -> PurePosixPath:
    """Return the path whose partial is the compacted copy of a layer's partial, until it takes that one's place."""
    return layer.with_name(layer.name + COMPACT)


def merged_of(layer: PurePosixPath) -> PurePosixPath:
    """Return the path whose partial is what a layer becomes by a merge, until it takes that one's place."""
    return layer.with_name(layer.name + MERGED)


def is_merged_partial(name: str) -> bool:
    """Return whether this is the file name of a merged layer that is not committed."""
    return is_partial(name) and name.endswith(MERGED + PARTIAL)


def unfit_of(manifest: PurePosixPath) -> PurePosixPath:
    """Return the path of the file with the marks of a restore point."""
    return manifest.with_name(manifest.name + UNFIT)


def manifest_of(marks: str) -> str:
    """Return the file name of the manifest to which a file with marks belongs."""
    return marks.removesuffix(UNFIT)


def check_root(text: str) -> PurePosixPath:
    """Return the path of a repository's root below the volume; empty: the volume itself. Raises LayoutError."""
    if text and not all(_FOLDER.fullmatch(part) for part in text.split("/")):
        raise LayoutError(f"not a relative path of plain folder names: {text!r}")
    return PurePosixPath(text)


def check_folder(name: str) -> None:
    """Raise LayoutError unless `name` can be the folder of a namespace or of a chain."""
    if not is_object_name(name):
        raise LayoutError(f"not the name of a Kubernetes object: {name!r}")


def check_backup(name: str, uid: str) -> None:
    """Raise LayoutError unless `name` and `uid` can be those of a Backup."""
    check_folder(name)
    if not _UID.fullmatch(uid):
        raise LayoutError(f"not a UID: {uid!r}")


def is_disk_folder(name: str) -> bool:
    """Return whether a folder in a chain has the name of a disk folder."""
    return _DISK.fullmatch(name) is not None


def is_layer(name: str) -> bool:
    """Return whether this is the file name of a committed layer."""
    return _LAYER.fullmatch(name) is not None


def is_manifest(name: str) -> bool:
    """Return whether this is the file name of a manifest."""
    return _MANIFEST.fullmatch(name) is not None


def is_tombstone(name: str) -> bool:
    """Return whether this is the file name of a tombstone."""
    return _TOMBSTONE.fullmatch(name) is not None


def is_pin(name: str) -> bool:
    """Return whether this is the file name of a pin, which is a pod's UID."""
    return _UID.fullmatch(name) is not None


def is_partial(name: str) -> bool:
    """Return whether this is the file name of a layer, digest list, manifest or marks that is not committed."""
    return _PARTIAL_NAME.fullmatch(name) is not None


def is_unfit(name: str) -> bool:
    """Return whether this is the file name of marks."""
    return name.endswith(MANIFEST_SUFFIX + UNFIT) and is_manifest(name.removesuffix(UNFIT))


def check_layer_path(text: str) -> PurePosixPath:
    """Return `text` as the path of a layer, `<namespace>/<vm>/disk-<n>/<stem>.qcow2`. Raises LayoutError."""
    parts = text.split("/")
    if len(parts) != 4 or not (is_object_name(parts[0]) and is_object_name(parts[1])):
        raise LayoutError(f"not the path of a layer: {text!r}")
    if not is_disk_folder(parts[2]) or not _LAYER.fullmatch(parts[3]):
        raise LayoutError(f"not the path of a layer: {text!r}")
    return PurePosixPath(text)
