"""Restore points go in two steps: at once out of the list, and their layers when nothing depends on them any more.

Both can be cut short anywhere and be done again. A file goes only if a manifest named it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.chain import layout
from sendense_operator.chain.freeable_layers import Fate, FreePlan, plan_freeing
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

log = get_logger(__name__)

_Step = Callable[[str], None]
_MAX_TOMBSTONES: Final = 1000
"""Of one Backup. One is the rule; a second would take a worker that commits after it was thought dead."""


@dataclass(frozen=True)
class Waiting:
    """A tombstone some of whose files are still there."""

    point: StoredPoint
    stored_bytes: int
    """Bytes that they take on their file system."""
    needed_by: str = ""
    """Name of a Backup whose restore point depends on them; empty: none does, they could not be freed yet."""


@dataclass(frozen=True)
class FreeResult:
    """What `free_layers` did."""

    files: int = 0
    """Files that are gone; manifests are not counted."""
    stored_bytes: int = 0
    """Bytes that they took."""
    waiting: tuple[Waiting, ...] = ()
    """Tombstones that remain, oldest first."""
    vanished: tuple[str, ...] = ()
    """Files that show that the listing was stale: nothing was freed."""


def entomb(root: Path, paths: ChainPaths, removal: Removal, on_step: _Step = no_step) -> bool:
    """Take a restore point out of the list: its manifest becomes a tombstone. Whether there was one.

    Needs no lock: nothing that a writer of the chain may use is touched. `on_step` receives what comes next.
    Raises OSError, LayoutError.
    """
    candidates = paths.manifests(removal.backup, removal.backup_uid)
    places = [place for place in candidates if _uid_at(root, place) == removal.backup_uid]
    if not places and not _is_entombed(root, paths, removal.backup_uid):
        # an adopted Backup may have another name than its manifest says
        places = [place for place in manifests_in(root, paths) if _uid_at(root, place) == removal.backup_uid]
    for place in places:
        on_step("folder of tombstones")
        ensure_folder(root / paths.tombstones, root)
        target = _free_tombstone(root, paths, place)
        on_step(f"rename {place}")
        try:
            (root / place).rename(root / target)
        except FileNotFoundError:
            continue  # somebody else does the same
        log.info("restore point removed", manifest=place, tombstone=target)
    if places or _is_entombed(root, paths, removal.backup_uid):
        _settle(root, paths, (*candidates, *places), on_step)
    return bool(places)


def _settle(root: Path, paths: ChainPaths, places: Iterable[PurePosixPath], on_step: _Step) -> None:
    """Also when it was done before: that one may not have come so far."""
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
        log.warning("left alone", path=place, error=error)
        return None


def _is_entombed(root: Path, paths: ChainPaths, uid: str) -> bool:
    return any(f".{uid}." in place.name for place in tombstones_in(root, paths))


def _free_tombstone(root: Path, paths: ChainPaths, place: PurePosixPath) -> PurePosixPath:
    """Never the name of another tombstone, which may own other files."""
    backup = read_manifest(root, place).backup
    names = (paths.tombstone(backup.name, backup.uid, number) for number in range(1, _MAX_TOMBSTONES))
    return next(name for name in names if not os.path.lexists(root / name))


def free_layers(root: Path, chain: ChainFolder, on_step: _Step = no_step) -> FreeResult:
    """Remove the files of tombstones that nothing needs, then the tombstones that have none left.

    The chain's lock is held, `chain` was read since. In a chain that is not understood nothing is touched, nor where a
    file vanished while it was listed: nobody else has the lock, so the listing is stale and may lack others.
    `on_step` receives what comes next; it may raise to stop there. Raises OSError, and leaves what the next call
    carries on with.
    """
    if not chain.tombstones or not chain.is_understood:
        return FreeResult(waiting=waiting_tombstones(root, chain))
    found = read_disk_files(root, chain.paths)
    if found.vanished:
        log.warning("nothing is freed: a file vanished while its folder was listed", file=found.vanished[0])
        return FreeResult(waiting=_waiting(root, chain, _plan(chain, found).fates), vanished=found.vanished)
    plan = _plan(chain, found)
    real = {folder: is_folder(root / folder) for folder in {PurePosixPath(layer).parent for layer in plan.order}}
    gone = [path for layer in plan.order for path in _files(layer) if real[path.parent]]
    files = stored_bytes = 0
    for path in gone:
        size = _size(root / path)
        if size is not None:
            on_step(f"unlink {path}")
            (root / path).unlink(missing_ok=True)
            files, stored_bytes = files + 1, stored_bytes + size
    for folder in sorted({path.parent for path in gone}):
        on_step(f"fsync {folder}")
        fsync_path(root / folder)
    _forget(root, chain, plan, on_step)
    if files:
        log.info("freed", folder=chain.paths.folder, files=files, stored_bytes=stored_bytes)
    return FreeResult(files, stored_bytes, _waiting(root, chain, plan.fates))


def _forget(root: Path, chain: ChainFolder, plan: FreePlan, on_step: _Step) -> None:
    done = [point for point, fate in zip(chain.tombstones, plan.fates, strict=True) if fate.is_done]
    for point in done:
        on_step(f"forget {point.place}")
        (root / point.place).unlink(missing_ok=True)
    if done:
        on_step("fsync tombstones")
        fsync_path(root / chain.paths.tombstones)


def waiting_tombstones(root: Path, chain: ChainFolder) -> tuple[Waiting, ...]:
    """Return a chain's tombstones and who needs them, while the chain may be in use. Raises OSError."""
    if not chain.tombstones:
        return ()
    if not chain.is_understood:
        return tuple(Waiting(point, _stored(root, point.manifest)) for point in chain.tombstones)
    return _waiting(root, chain, _plan(chain, read_disk_files(root, chain.paths)).fates)


def _plan(chain: ChainFolder, found: DiskFiles) -> FreePlan:
    points = [point.manifest for point in chain.points]
    tombstones = [point.manifest for point in chain.tombstones]
    return plan_freeing(chain.paths.folder, points, tombstones, found.files)


def _waiting(root: Path, chain: ChainFolder, fates: tuple[Fate, ...]) -> tuple[Waiting, ...]:
    pairs = zip(chain.tombstones, fates, strict=True)
    return tuple(
        Waiting(point, _stored(root, point.manifest), fate.needed_by)
        for point, fate in pairs
        if (root / point.place).exists()
    )


def _stored(root: Path, manifest: Manifest) -> int:
    return sum(allocated(root / name) for name in manifest.files())


def _files(layer: str) -> tuple[PurePosixPath, PurePosixPath]:
    return PurePosixPath(layer), layout.digests_of(PurePosixPath(layer))


def _size(path: Path) -> int | None:
    """Return the bytes that a file takes; None: there is none."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return None
