"""Content of a chain's folder: restore points, tombstones, and manifests that can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.chain import layout, parent_blocks
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.chain.manifest import Manifest, ManifestError, NewerManifestError
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import NotRegularError
from sendense_operator.worker.storage.durable_io import fsync_path, is_folder, list_names, read_regular, replace_durable

log = get_logger(__name__)

_MANIFEST_LIMIT: Final = 4 << 20
"""Largest size of a manifest in bytes; one with 64 disks has about 100 KiB."""


@dataclass(frozen=True)
class StoredPoint:
    """A manifest in the repository, and its marks."""

    place: PurePosixPath
    """Path of the manifest below the repository's root."""
    manifest: Manifest
    unfit: tuple[Unfit, ...] = ()
    """Marks of disks that are damaged or can't be the parent of an increment."""

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Sort key: first the sequence, because clocks may be wrong; restore points of the first version have none."""
        return self.manifest.sequence, self.manifest.finished, self.manifest.backup.uid


@dataclass(frozen=True)
class ChainFolder:
    """All manifests of one VM."""

    paths: ChainPaths
    points: tuple[StoredPoint, ...] = ()
    """Restore points, oldest first."""
    tombstones: tuple[StoredPoint, ...] = ()
    """Removed restore points whose files are not all freed, oldest first."""
    unreadable: tuple[PurePosixPath, ...] = ()
    """Manifests that can't be read."""
    newer: tuple[PurePosixPath, ...] = ()
    """Manifests of a newer format."""
    vanished: tuple[PurePosixPath, ...] = ()
    """Manifests that were listed but did not exist when they were read. Under the chain's lock this means that the
    listing is stale and may lack others."""
    flaws: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """What is wrong with each manifest in `unreadable` and `newer`."""

    @property
    def is_understood(self) -> bool:
        """Whether every manifest could be read. Otherwise nothing may be freed: what the others need is unknown."""
        return not (self.unreadable or self.newer or self.vanished)

    @property
    def next_sequence(self) -> int:
        """Sequence number of the next restore point."""
        return 1 + max((point.manifest.sequence for point in self.points + self.tombstones), default=0)


def read_chain(root: Path, paths: ChainPaths) -> ChainFolder:
    """Return a chain's manifests. Raises OSError if a folder or file can't be read, because a listing must be complete.

    Restore points are listed before tombstones. One that becomes a tombstone meanwhile is therefore found twice rather
    than not at all, and counts as a tombstone.
    """
    points, tombstones = list[StoredPoint](), list[StoredPoint]()
    flaws = dict[PurePosixPath, str]()
    unreadable, newer, vanished = list[PurePosixPath](), list[PurePosixPath](), list[PurePosixPath]()
    for places, found in ((manifests_in(root, paths), points), (tombstones_in(root, paths), tombstones)):
        for place in places:
            try:
                found.append(read_point(root, place))
            except FileNotFoundError:
                vanished.append(place)  # normal without the lock: it became a tombstone, or its tombstone was removed
            except NewerManifestError as error:
                log.warning("manifest of a newer format ignored", path=place, error=error)
                newer.append(place)
                flaws[place] = str(error)
            except ManifestError as error:
                log.warning("unreadable manifest ignored", path=place, error=error)
                unreadable.append(place)
                flaws[place] = str(error)
    if tombstones and not is_folder(root / paths.backups):
        vanished.append(paths.backups)  # a tombstone was once a manifest in this folder, so the folder must exist
    removed = {_identity(point) for point in tombstones}
    points = [point for point in points if _identity(point) not in removed]
    return ChainFolder(
        paths,
        tuple(sorted(points, key=lambda point: point.order)),
        tuple(sorted(tombstones, key=lambda point: point.order)),
        tuple(unreadable),
        tuple(newer),
        tuple(vanished),
        flaws,
    )


def manifests_in(root: Path, paths: ChainPaths) -> Iterator[PurePosixPath]:
    """Return the paths of a chain's manifests below `root`, sorted by name. Raises OSError."""
    return (paths.backups / name for name in _names(root / paths.backups) if layout.is_manifest(name))


def tombstones_in(root: Path, paths: ChainPaths) -> Iterator[PurePosixPath]:
    """Return the paths of a chain's tombstones below `root`, sorted by name. Raises OSError."""
    return (paths.tombstones / name for name in _names(root / paths.tombstones) if layout.is_tombstone(name))


def _names(folder: Path) -> list[str]:
    try:
        return list_names(folder)
    except FileNotFoundError:
        return []


def _identity(point: StoredPoint) -> tuple[str, ...]:
    return point.manifest.backup.uid, *point.manifest.files()


def manifest_bytes(root: Path, place: PurePosixPath) -> bytes:
    """Return the bytes of a manifest, without parsing them. Raises as `read_manifest` does."""
    try:
        data = read_regular(root / place, _MANIFEST_LIMIT + 1)
    except NotRegularError as error:
        raise ManifestError(str(error)) from error
    if len(data) > _MANIFEST_LIMIT:
        raise ManifestError(f"larger than {_MANIFEST_LIMIT} bytes")
    return data


def read_manifest(root: Path, place: PurePosixPath) -> Manifest:
    """Return a manifest. Raises ManifestError, FileNotFoundError, and OSError for errors of the storage."""
    manifest = Manifest.from_json(manifest_bytes(root, place))
    try:
        layout.check_backup(manifest.backup.name, manifest.backup.uid)
    except LayoutError as error:
        raise ManifestError(str(error)) from error
    return manifest


def read_point(root: Path, place: PurePosixPath) -> StoredPoint:
    """Return a manifest with its marks. Raises as `read_manifest` does."""
    manifest = read_manifest(root, place)
    try:
        data = read_regular(root / layout.unfit_of(place), _MANIFEST_LIMIT)
    except FileNotFoundError:
        return StoredPoint(place, manifest)
    except NotRegularError:
        data = b""
    return StoredPoint(place, manifest, parent_blocks.from_json(data, datetime.now(UTC), manifest))


def mark_unfit(root: Path, point: StoredPoint, marks: tuple[Unfit, ...]) -> tuple[Unfit, ...]:
    """Add marks to a restore point durably, and return all its marks. Per disk and reason the newest mark is kept.

    If the restore point is removed meanwhile, the marks are removed again. Raises OSError.
    """
    added = {(mark.index, mark.reason) for mark in marks}
    kept = tuple(mark for mark in point.unfit if (mark.index, mark.reason) not in added)
    if (root / point.place).exists():
        set_marks(root, point, kept + marks)
    if not (root / point.place).exists():
        (root / layout.unfit_of(point.place)).unlink(missing_ok=True)
    return kept + marks


def set_marks(root: Path, point: StoredPoint, marks: tuple[Unfit, ...]) -> None:
    """Write the marks of a restore point durably; without marks, remove their file. Raises OSError."""
    place = root / layout.unfit_of(point.place)
    if marks:
        replace_durable(place, parent_blocks.to_json(marks))
    else:
        place.unlink(missing_ok=True)
        fsync_path(place.parent)
