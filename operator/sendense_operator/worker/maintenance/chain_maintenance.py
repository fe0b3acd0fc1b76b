"""Maintenance of one chain under its lock: sweeping, freeing, quarantine of orphans; and a survey of its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.catalogue_format import MAX_OBSTACLES, PASSING, Obstacle, ObstacleReason
from sendense_operator.chain import layout, orphans
from sendense_operator.chain.immutability import STRICT, ImmutabilityRule
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import WorkerError, storage_error
from sendense_operator.worker.storage import merge_journal, recovery
from sendense_operator.worker.storage.chain_folder import ChainFolder, read_chain, tombstones_in
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.disk_listing import DiskFiles, read_disk_files
from sendense_operator.worker.storage.durable_io import ensure_folder, is_regular
from sendense_operator.worker.storage.immutable_bit import refresh_bits
from sendense_operator.worker.storage.quarantine import count_quarantined, quarantine
from sendense_operator.worker.storage.tombstones import Waiting, free_layers, waiting_tombstones

log = get_logger(__name__)

_IN_USE: Final = "a backup is writing this chain: nothing was freed or quarantined"
_MOST_READS: Final = 20
"""How often a chain that changes is read. A switch to a merged layer takes some milliseconds per restore point."""
_MAX_MESSAGE: Final = 500
"""Characters that are kept of a path or of a message of the system."""
_KNOWN: Final = frozenset(
    {layout.LOCK, layout.OWNER, layout.BACKUPS, layout.TOMBSTONES, layout.QUARANTINE, layout.PINS, layout.CONSOLIDATION}
)


@dataclass
class Survey:
    """What was done for a chain, and what it contains now."""

    chain: ChainFolder
    is_complete: bool = False
    """Whether the chain could be listed completely."""
    is_busy: bool = False
    """Whether the lock was held by another process, which may still commit a restore point."""
    disk_files: DiskFiles = field(default_factory=DiskFiles)
    waiting: tuple[Waiting, ...] = ()
    """Tombstones that remain."""
    swept: int = 0
    """Number of files of earlier attempts that were removed."""
    unknown: int = 0
    """Number of orphans that stay where they are; 0 for a chain that is being written."""
    quarantined: int = 0
    """Number of files in the quarantine."""
    obstacles: list[Obstacle] = field(default_factory=list)
    """Errors, and other causes why nothing could be freed."""

    @property
    def is_stale(self) -> bool:
        """Whether files vanished while they were listed under the lock."""
        return any(obstacle.reason == ObstacleReason.LISTING_CHANGED for obstacle in self.obstacles)

    @property
    def messages(self) -> list[str]:
        """The obstacles as messages for users."""
        return [obstacle.describe() for obstacle in self.obstacles]

    @property
    def is_blocked(self) -> bool:
        """Whether there is an obstacle other than those that pass: a running backup, or a running verification."""
        return any(obstacle.reason not in PASSING for obstacle in self.obstacles)


def needs_sweep(root: Path, paths: ChainPaths) -> bool:
    """Return whether an attempt that died left something to sweep. Raises OSError."""
    return bool(_leftovers(root, paths)) or is_regular(root / merge_journal.journal_of(paths))


def _leftovers(root: Path, paths: ChainPaths) -> int:
    return len(recovery.partials(root, paths)) + len(recovery.stray_marks(root, paths))


def needs_maintenance(root: Path, paths: ChainPaths) -> bool:
    """Return whether there may be something to sweep or to free. Raises OSError."""
    return needs_sweep(root, paths) or any(tombstones_in(root, paths))


def maintain(
    root: Path,
    paths: ChainPaths,
    owner: str,
    *,
    clean: bool,
    rule: ImmutabilityRule = STRICT,
    sets_bits: bool = False,
) -> Survey:
    """Maintain a chain and return a survey of it; `clean`: also quarantine orphans. `owner`: the pod's UID.

    `rule`: what is immutable is not freed; `sets_bits`: its files get the file system's immutable bit. A chain that
    another process is writing is only surveyed. Errors are recorded in the survey as obstacles.
    """
    survey, lock = Survey(ChainFolder(paths)), None
    with _recording(survey, "locking", root):
        lock = ChainLock.try_acquire(root / paths.lock, root, owner, may_lack_record=True)
        if lock is None:
            survey.obstacles.append(Obstacle(reason=ObstacleReason.CHAIN_BUSY, message=_IN_USE))
    survey.is_busy = lock is None
    with lock or nullcontext():
        if lock is not None:
            with _recording(survey, "sweeping", root):
                survey.swept = sweep_chain(root, paths, lock.before)
                if clean:  # commits create this folder, but those of earlier versions did not
                    ensure_folder(root / paths.tombstones, root)
        with _recording(survey, "listing", root):
            _survey(root, paths, survey, lock, rule, clean=clean)
            survey.is_complete = not survey.is_stale
        if lock is not None and sets_bits and survey.chain.is_understood:
            with _recording(survey, "protecting", root):
                refresh_bits(root, survey.chain, rule)
    if survey.is_complete and not any(not item.needed_by for item in survey.waiting):
        # Nothing waited to be freed, so the running backup was no obstacle.
        survey.obstacles = [obstacle for obstacle in survey.obstacles if obstacle.reason != ObstacleReason.CHAIN_BUSY]
    return survey


def sweep_chain(root: Path, paths: ChainPaths, on_step: Callable[[str], None]) -> int:
    """Remove what attempts that died left in a chain whose lock is held. Raises OSError.

    Returns the number of files. `on_step` receives the name of each step before it is done, and may raise to stop.
    """
    before = _leftovers(root, paths)
    recovery.settle(root, paths, None, on_step)
    recovery.sweep(root, paths, on_step)
    return before - _leftovers(root, paths)


@contextmanager
def _recording(survey: Survey, doing: str, root: Path) -> Iterator[None]:
    """Record an error in the survey instead of raising it, so that the other chains are maintained, too."""
    try:
        yield
    except OSError as error:
        survey.obstacles.append(obstacle_of(error, doing, root))
    except WorkerError as error:
        survey.obstacles.append(Obstacle(reason=error.reason, doing=doing, message=error.message[:_MAX_MESSAGE]))
    else:
        return
    log.warning("maintenance failed", folder=survey.chain.paths.folder, message=survey.messages[-1])


def obstacle_of(error: OSError, doing: str, root: Path) -> Obstacle:
    """Return an error of the file system as an obstacle; its path is made relative to the repository's `root`."""
    file = str(error.filename or "").removeprefix(f"{root}/")
    reason = storage_error(error, doing).reason
    return Obstacle(
        reason=reason, doing=doing, file=file[:_MAX_MESSAGE], message=str(error.strerror or error)[:_MAX_MESSAGE]
    )


def _survey(
    root: Path, paths: ChainPaths, survey: Survey, lock: ChainLock | None, rule: ImmutabilityRule, *, clean: bool
) -> None:
    survey.chain = read_chain(root, paths)
    survey.obstacles += _flaws(survey.chain, locked=lock is not None)
    if lock is not None:
        with _recording(survey, "freeing", root):
            _free(root, survey, lock.before, rule)
    survey.waiting = waiting_tombstones(root, survey.chain, rule)
    survey.disk_files = read_disk_files(root, paths)
    if lock is None:
        _read_consistently(root, survey, rule)
    else:
        beside = _beside_manifests(root, paths)
        if survey.disk_files.vanished:
            survey.obstacles.append(_vanished(survey.disk_files.vanished[0]))
        if clean and survey.chain.is_understood and not survey.disk_files.vanished:
            with _recording(survey, "quarantining", root):
                _quarantine_orphans(root, survey, beside, lock)
                survey.disk_files = read_disk_files(root, paths)
                beside = _beside_manifests(root, paths)
        known = [point.manifest for point in survey.chain.points + survey.chain.tombstones]
        unknown = orphans.unknown_files(known, survey.disk_files.files)
        survey.unknown = len(unknown) + len(survey.disk_files.odd) + len(beside) + _odd_folders(root, paths)
    survey.quarantined = count_quarantined(root, paths)


def _read_consistently(root: Path, survey: Survey, rule: ImmutabilityRule) -> None:
    """Read a chain whose lock another pod holds until no merge has changed it meanwhile.

    A layer and the manifest that was read before it would else contradict each other, which looks like damage.
    """
    paths = survey.chain.paths
    for _ in range(_MOST_READS):
        again = read_chain(root, paths)
        if again == survey.chain and not merge_journal.is_switching(root, paths):
            return
        survey.chain, survey.disk_files = again, read_disk_files(root, paths)
        survey.waiting = waiting_tombstones(root, survey.chain, rule)
    text = "layers are being merged"
    survey.obstacles.append(Obstacle(reason=ObstacleReason.LISTING_CHANGED, doing="listing", message=text))


def _flaws(chain: ChainFolder, *, locked: bool) -> Iterator[Obstacle]:
    """Yield an obstacle for each manifest that can't be read: because of it nothing is freed."""
    for places, reason in (
        (chain.unreadable, ObstacleReason.MANIFEST_UNREADABLE),
        (chain.newer, ObstacleReason.MANIFEST_NEWER),
    ):
        for place in places[:MAX_OBSTACLES]:
            yield Obstacle(
                reason=reason, doing="freeing", file=str(place), message=chain.flaws.get(place, "")[:_MAX_MESSAGE]
            )
    if locked and chain.vanished:
        yield _vanished(str(chain.vanished[0]))


def _vanished(file: str) -> Obstacle:
    text = (
        "the file vanished while its folder was listed, although this pod holds the chain's lock: the listing is stale"
    )
    return Obstacle(reason=ObstacleReason.LISTING_CHANGED, doing="freeing", file=file, message=text)


def _free(root: Path, survey: Survey, on_step: Callable[[str], None], rule: ImmutabilityRule) -> None:
    freed = free_layers(root, survey.chain, on_step, rule)
    if freed.vanished:
        survey.obstacles.append(_vanished(freed.vanished[0]))
    for reader in dict.fromkeys(item.pinned_by for item in freed.waiting if item.pinned_by):
        text = f"the pod with UID {reader} is reading layers of deleted restore points: they are kept until it ends"
        survey.obstacles.append(Obstacle(reason=ObstacleReason.LAYER_PINNED, doing="freeing", message=text))
    retained = [item.point.place for item in freed.waiting if item.is_retained and not item.needed_by]
    if retained:
        text = "an immutable restore point was removed without the operator: its layers, and those below, are kept"
        survey.obstacles.append(
            Obstacle(reason=ObstacleReason.RETAINED, doing="freeing", file=str(retained[0]), message=text)
        )
    survey.chain = replace(survey.chain, tombstones=tuple(item.point for item in freed.waiting))


def _quarantine_orphans(root: Path, survey: Survey, beside: list[os.DirEntry[str]], lock: ChainLock) -> None:
    paths = survey.chain.paths
    known = [point.manifest for point in survey.chain.points + survey.chain.tombstones]
    files = [PurePosixPath(path) for path in orphans.movable_files(known, survey.disk_files.files)]
    files += [
        paths.backups / entry.name
        for entry in beside
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
    ]
    quarantine(root, paths, files, datetime.now(UTC), lock.before)


def _beside_manifests(root: Path, paths: ChainPaths) -> list[os.DirEntry[str]]:
    """Return the entries of the manifests' folder that are neither manifests nor other files of the operator."""
    try:
        with os.scandir(root / paths.backups) as entries:
            return [entry for entry in entries if not _is_expected(entry.name)]
    except FileNotFoundError:
        return []


def _is_expected(name: str) -> bool:
    return layout.is_manifest(name) or layout.is_unfit(name) or layout.is_partial(name)


def _odd_folders(root: Path, paths: ChainPaths) -> int:
    """Return the number of entries in the chain's folder that do not belong to the layout."""
    with os.scandir(root / paths.folder) as entries:
        return sum(not (entry.name in _KNOWN or layout.is_disk_folder(entry.name)) for entry in entries)
