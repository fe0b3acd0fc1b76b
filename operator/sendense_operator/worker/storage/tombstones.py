"""Removal of restore points in two steps: first the manifest becomes a tombstone, later the unneeded layers are freed.

Both steps can be interrupted anywhere and repeated. Only files that a manifest names are removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.chain import layout
from sendense_operator.chain.freeable_layers import NO_PINS, Fate, FreePlan, Pins, plan_freeing
from sendense_operator.chain.immutability import STRICT, ImmutabilityRule, retained_layers
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestError
from sendense_operator.logs import get_logger
from sendense_operator.task import Removal
from sendense_operator.worker.storage.chain_folder import (
    ChainFolder,
    StoredPoint,
    manifests_in,
    read_manifest,
    tombstones_in,
)
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.disk_listing import DiskFiles, read_disk_files
from sendense_operator.worker.storage.durable_io import allocated, ensure_folder, fsync_path, is_folder
from sendense_operator.worker.storage.immutable_bit import release
from sendense_operator.worker.storage.pins import pinned

log = get_logger(__name__)

_Step = Callable[[str], None]
_MAX_TOMBSTONES: Final = 1000
"""Most tombstones of one Backup. There is normally one; a second arises if a worker commits that was assumed dead."""


@dataclass(frozen=True)
class Waiting:
    """A tombstone whose files are not all freed."""

    point: StoredPoint
    stored_bytes: int
    """Bytes that its files occupy on the file system."""
    needed_by: str = ""
    """Name of a Backup whose restore point depends on them; empty if none does and they could not be freed yet."""
    pinned_by: str = ""
    """UID of a pod that is reading them, which alone keeps them."""
    is_retained: bool = False
    """Whether they are immutable, or an immutable restore point depends on them."""


@dataclass(frozen=True)
class FreeResult:
    """Result of `free_layers`."""

    files: int = 0
    """Number of files that were removed, manifests not counted."""
    stored_bytes: int = 0
    """Bytes that they occupied."""
    waiting: tuple[Waiting, ...] = ()
    """Tombstones that remain, oldest first."""
    vanished: tuple[str, ...] = ()
    """Files that show that the listing was stale; in that case nothing was freed."""


class RetainedError(Exception):
    """A restore point that is immutable was to be removed."""

    def __init__(self, place: PurePosixPath, until: datetime | None) -> None:
        """Initialize; `place`: path of the manifest below the repository's root."""
        super().__init__(f"the restore point is immutable until {until:%Y-%m-%dT%H:%M:%SZ}")
        self.place = place


def entomb(
    root: Path, paths: ChainPaths, removal: Removal, on_step: _Step = no_step, rule: ImmutabilityRule = STRICT
) -> bool:
    """Turn a restore point's manifest into a tombstone; return whether there was such a manifest.

    It needs no lock, because it changes nothing that a writer of the chain may use. `on_step` receives the name of each
    step before it is done. Raises RetainedError before anything is changed, OSError, LayoutError.
    """
    candidates = paths.manifests(removal.backup, removal.backup_uid)
    places = [place for place in candidates if _uid_at(root, place) == removal.backup_uid]
    if not places and not _is_entombed(root, paths, removal.backup_uid):
        # An adopted Backup may have another name than the one in its manifest.
        places = [place for place in manifests_in(root, paths) if _uid_at(root, place) == removal.backup_uid]
    for place in places:
        _refuse_retained(root, place, rule)
    for place in places:
        on_step("folder of tombstones")
        ensure_folder(root / paths.tombstones, root)
        target = _free_tombstone(root, paths, place)
        on_step(f"rename {place}")
        try:
            if read_manifest(root, place).retain_until is not None:
                release(root / place)
            (root / place).rename(root / target)
        except FileNotFoundError:
            continue  # another maintenance Job removed it at the same time
        log.info("restore point removed", manifest=place, tombstone=target)
    if places or _is_entombed(root, paths, removal.backup_uid):
        _complete_removal(root, paths, (*candidates, *places), on_step)
    return bool(places)


def _refuse_retained(root: Path, place: PurePosixPath, rule: ImmutabilityRule) -> None:
    try:
        manifest = read_manifest(root, place)
    except FileNotFoundError:
        return  # another maintenance Job removed it at the same time
    if rule.retains(manifest):
        raise RetainedError(place, rule.until(manifest))


def _complete_removal(root: Path, paths: ChainPaths, places: Iterable[PurePosixPath], on_step: _Step) -> None:
    """Remove the marks and make the renames durable; also after an earlier removal, which may have been interrupted."""
    on_step("fsync tombstone")
    fsync_path(root / paths.tombstones)
    for place in places:
        if not (root / place).exists():
            on_step(f"mark of {place}")
            (root / layout.unfit_of(place)).unlink(missing_ok=True)
    on_step("fsync manifests")
    fsync_path(root / paths.backups)


def _uid_at(root: Path, place: PurePosixPath) -> str | None:
    try:
        return read_manifest(root, place).backup.uid
    except FileNotFoundError:
        return None
    except ManifestError as error:
        log.warning("unreadable manifest ignored", path=place, error=error)
        return None


def _is_entombed(root: Path, paths: ChainPaths, uid: str) -> bool:
    return any(f".{uid}." in place.name for place in tombstones_in(root, paths))


def _free_tombstone(root: Path, paths: ChainPaths, place: PurePosixPath) -> PurePosixPath:
    """Return a path that no other tombstone has, because that one may name other files."""
    backup = read_manifest(root, place).backup
    names = (paths.tombstone(backup.name, backup.uid, number) for number in range(1, _MAX_TOMBSTONES))
    return next(name for name in names if not os.path.lexists(root / name))


def free_layers(
    root: Path, chain: ChainFolder, on_step: _Step = no_step, rule: ImmutabilityRule = STRICT
) -> FreeResult:
    """Remove the files of tombstones that nothing needs, then the tombstones without remaining files.

    The chain's lock must be held, and `chain` must have been read since it was acquired. Nothing is removed while
    manifests of the chain can't be read, or if a file vanished while it was listed: as nobody else holds the lock, the
    listing is then stale and may lack other files. `on_step` receives the name of each step before it is done, and may
    raise to stop there. Layers that a pod is reading are kept; none is pinned meanwhile. So are immutable ones, with
    all layers below them. Raises OSError; the next call then continues.
    """
    if not chain.tombstones or not chain.is_understood:
        return FreeResult(waiting=waiting_tombstones(root, chain, rule))
    with pinned(root, chain.paths) as pins:
        return _free_unneeded(root, chain, pins, on_step, rule)


def _free_unneeded(root: Path, chain: ChainFolder, pins: Pins, on_step: _Step, rule: ImmutabilityRule) -> FreeResult:
    found = read_disk_files(root, chain.paths)
    plan = _plan(chain, found, pins, rule)
    if found.vanished:
        log.warning("nothing is freed: a file vanished while its folder was listed", file=found.vanished[0])
        return FreeResult(waiting=_waiting(root, chain, plan.fates), vanished=found.vanished)
    real = {folder: is_folder(root / folder) for folder in {PurePosixPath(layer).parent for layer in plan.order}}
    unneeded = [path for layer in plan.order for path in _files(layer) if real[path.parent]]
    # On other files an immutable bit is somebody else's.
    timed = {name for point in chain.tombstones if point.manifest.retain_until for name in point.manifest.files()}
    files = stored_bytes = 0
    for path in unneeded:
        size = _size(root / path)
        if size is not None:
            on_step(f"unlink {path}")
            if str(path) in timed:
                release(root / path)
            (root / path).unlink(missing_ok=True)
            files, stored_bytes = files + 1, stored_bytes + size
    for folder in sorted({path.parent for path in unneeded}):
        on_step(f"fsync {folder}")
        fsync_path(root / folder)
    _remove_tombstones(root, chain, plan, on_step)
    if files:
        log.info("freed layers", folder=chain.paths.folder, files=files, stored_bytes=stored_bytes)
    return FreeResult(files, stored_bytes, _waiting(root, chain, plan.fates))


def _remove_tombstones(root: Path, chain: ChainFolder, plan: FreePlan, on_step: _Step) -> None:
    done = [point for point, fate in zip(chain.tombstones, plan.fates, strict=True) if fate.is_done]
    for point in done:
        on_step(f"unlink {point.place}")
        (root / point.place).unlink(missing_ok=True)
    if done:
        on_step("fsync tombstones")
        fsync_path(root / chain.paths.tombstones)


def waiting_tombstones(root: Path, chain: ChainFolder, rule: ImmutabilityRule = STRICT) -> tuple[Waiting, ...]:
    """Return a chain's tombstones and what needs their files. Works without the chain's lock. Raises OSError."""
    if not chain.tombstones:
        return ()
    if not chain.is_understood:
        return tuple(Waiting(point, _stored(root, point.manifest)) for point in chain.tombstones)
    return _waiting(root, chain, _plan(chain, read_disk_files(root, chain.paths), NO_PINS, rule).fates)


def _plan(chain: ChainFolder, found: DiskFiles, pins: Pins, rule: ImmutabilityRule) -> FreePlan:
    points = [point.manifest for point in chain.points]
    tombstones = [point.manifest for point in chain.tombstones]
    retained = retained_layers((*points, *tombstones), rule)
    return plan_freeing(chain.paths.folder, points, tombstones, found.files, pins, retained)


def _waiting(root: Path, chain: ChainFolder, fates: tuple[Fate, ...]) -> tuple[Waiting, ...]:
    pairs = zip(chain.tombstones, fates, strict=True)
    return tuple(
        Waiting(point, _stored(root, point.manifest), fate.needed_by, fate.pinned_by, fate.is_retained)
        for point, fate in pairs
        if (root / point.place).exists()
    )


def _stored(root: Path, manifest: Manifest) -> int:
    return sum(allocated(root / name) for name in manifest.files())


def _files(layer: str) -> tuple[PurePosixPath, PurePosixPath]:
    return PurePosixPath(layer), layout.digests_of(PurePosixPath(layer))


def _size(path: Path) -> int | None:
    """Return the bytes that a file occupies, None if it does not exist."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return None
