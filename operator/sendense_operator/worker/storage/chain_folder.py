"""What a chain's folder holds: restore points, tombstones, and manifests that can't be read."""

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
"""Bytes: one of 64 disks takes some 100 KiB."""


@dataclass(frozen=True)
class StoredPoint:
    """A manifest and where it lies, below the repository's root."""

    place: PurePosixPath
    manifest: Manifest
    unfit: tuple[Unfit, ...] = ()

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Sort key: by sequence, whatever the clocks said; points of the first version have none."""
        return self.manifest.sequence, self.manifest.finished, self.manifest.backup.uid


@dataclass(frozen=True)
class ChainFolder:
    """All manifests of one VM."""

    paths: ChainPaths
    points: tuple[StoredPoint, ...] = ()
    """Restore points, oldest first."""
    tombstones: tuple[StoredPoint, ...] = ()
    """Removed ones whose files are not all freed, oldest first."""
    unreadable: tuple[PurePosixPath, ...] = ()
    newer: tuple[PurePosixPath, ...] = ()
    """Of a newer format."""
    vanished: tuple[PurePosixPath, ...] = ()
    """Listed, and not there any more when they were to be read. Under the chain's lock that means that the listing is
    stale: others may be missing from it."""
    flaws: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """What is wrong with each of `unreadable` and `newer`."""

    @property
    def is_understood(self) -> bool:
        """Whether every manifest could be read: else nothing may be freed, since what they need is unknown."""
        return not (self.unreadable or self.newer or self.vanished)

    @property
    def next_sequence(self) -> int:
        """Of the next restore point."""
        return 1 + max((point.manifest.sequence for point in self.points + self.tombstones), default=0)


def read_chain(root: Path, paths: ChainPaths) -> ChainFolder:
    """Read all manifests. Raises OSError where a folder or a file can't be read: half a listing is none.

    Restore points are listed before tombstones: one that becomes a tombstone meanwhile is seen twice, not never, and
    counts as a tombstone.
    """
    points, tombstones = list[StoredPoint](), list[StoredPoint]()
    flaws = dict[PurePosixPath, str]()
    unreadable, newer, vanished = list[PurePosixPath](), list[PurePosixPath](), list[PurePosixPath]()
    for places, found in ((manifests_in(root, paths), points), (tombstones_in(root, paths), tombstones)):
        for place in places:
            try:
                found.append(read_point(root, place))
            except FileNotFoundError:
                vanished.append(place)  # without the lock: it became a tombstone, or that one was freed
            except NewerManifestError as error:
                log.warning("left alone", path=place, error=error)
                newer.append(place)
                flaws[place] = str(error)
            except ManifestError as error:
                log.warning("left alone", path=place, error=error)
                unreadable.append(place)
                flaws[place] = str(error)
    if tombstones and not is_folder(root / paths.backups):
        vanished.append(paths.backups)  # a tombstone was a manifest there
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
    """Return the paths of a chain's manifests below `root`, in the order of their names. Raises OSError."""
    return (paths.backups / name for name in _names(root / paths.backups) if layout.is_manifest(name))


def tombstones_in(root: Path, paths: ChainPaths) -> Iterator[PurePosixPath]:
    """Return the same of its tombstones."""
    return (paths.tombstones / name for name in _names(root / paths.tombstones) if layout.is_tombstone(name))


def _names(folder: Path) -> list[str]:
    try:
        return list_names(folder)
    except FileNotFoundError:
        return []


def _identity(point: StoredPoint) -> tuple[str, ...]:
    return point.manifest.backup.uid, *point.manifest.files()


def manifest_bytes(root: Path, place: PurePosixPath) -> bytes:
    """Return what lies in the place of a manifest, whatever it says. Raises as `read_manifest` does."""
    try:
        data = read_regular(root / place, _MANIFEST_LIMIT + 1)
    except NotRegularError as error:
        raise ManifestError(str(error)) from error
    if len(data) > _MANIFEST_LIMIT:
        raise ManifestError(f"more than {_MANIFEST_LIMIT} bytes")
    return data


def read_manifest(root: Path, place: PurePosixPath) -> Manifest:
    """Return one manifest. Raises ManifestError, FileNotFoundError, and OSError where storage is at fault."""
    manifest = Manifest.from_json(manifest_bytes(root, place))
    try:
        layout.check_backup(manifest.backup.name, manifest.backup.uid)
    except LayoutError as error:
        raise ManifestError(str(error)) from error
    return manifest


def read_point(root: Path, place: PurePosixPath) -> StoredPoint:
    """Return one manifest with the marks that are about it. Raises as `read_manifest` does."""
    manifest = read_manifest(root, place)
    try:
        data = read_regular(root / layout.unfit_of(place), _MANIFEST_LIMIT)
    except FileNotFoundError:
        return StoredPoint(place, manifest)
    except NotRegularError:
        data = b""
    return StoredPoint(place, manifest, parent_blocks.from_json(data, datetime.now(UTC), manifest))


def mark_unfit(root: Path, point: StoredPoint, marks: tuple[Unfit, ...]) -> tuple[Unfit, ...]:
    """Add to what speaks against a point, durably; per disk and reason the newest mark stays. All that there are now.

    A mark that comes too late for a point that is being removed is taken away again; it would speak against no other
    one anyway. Raises OSError.
    """
    news = {(mark.index, mark.reason) for mark in marks}
    kept = tuple(mark for mark in point.unfit if (mark.index, mark.reason) not in news)
    if (root / point.place).exists():
        set_marks(root, point, kept + marks)
    if not (root / point.place).exists():
        (root / layout.unfit_of(point.place)).unlink(missing_ok=True)
    return kept + marks


def set_marks(root: Path, point: StoredPoint, marks: tuple[Unfit, ...]) -> None:
    """Write what speaks against a point, durably; without any mark there is no file. Raises OSError."""
    place = root / layout.unfit_of(point.place)
    if marks:
        replace_durable(place, parent_blocks.to_json(marks))
    else:
        place.unlink(missing_ok=True)
        fsync_path(place.parent)
