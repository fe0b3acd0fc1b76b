"""Care for one chain while nobody writes it: sweep, free, put aside orphans; and a check of it all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sendense_operator.catalogue_format import MAX_OBSTACLES, Hindrance, Obstacle
from sendense_operator.chain import layout, orphans
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import WorkerError, storage_error
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import ChainFolder, read_chain, tombstones_in
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.disk_listing import DiskFiles, read_disk_files
from sendense_operator.worker.storage.durable_io import ensure_folder
from sendense_operator.worker.storage.quarantine import count_put_aside, put_aside
from sendense_operator.worker.storage.tombstones import Waiting, free_layers, waiting_tombstones

log = get_logger(__name__)

_IN_USE: Final = "a backup is writing this chain: nothing was freed or put aside"
_WORDS: Final = 500
"""Characters of what the system says."""
_KNOWN: Final = frozenset({layout.LOCK, layout.OWNER, layout.BACKUPS, layout.TOMBSTONES, layout.QUARANTINE})


@dataclass
class Survey:
    """What was done for a chain, and what is in it now."""

    chain: ChainFolder
    is_complete: bool = False
    """Whether all of it could be listed."""
    is_busy: bool = False
    """Whether its lock could not be had: somebody may commit a restore point yet."""
    disk_files: DiskFiles = field(default_factory=DiskFiles)
    waiting: tuple[Waiting, ...] = ()
    """Tombstones that remain."""
    swept: int = 0
    unknown: int = 0
    """Orphans that stay where they are; not reported for a chain that is being written."""
    quarantined: int = 0
    obstacles: list[Obstacle] = field(default_factory=list)
    """What went wrong, and what nothing could be freed for."""

    @property
    def is_stale(self) -> bool:
        """Whether files vanished while they were listed."""
        return any(obstacle.reason == Hindrance.LISTING_CHANGED for obstacle in self.obstacles)

    @property
    def messages(self) -> list[str]:
        """The same in words."""
        return [obstacle.describe() for obstacle in self.obstacles]

    @property
    def is_hindered(self) -> bool:
        """Whether anything but a backup that is being made was in the way."""
        return any(obstacle.reason != Hindrance.CHAIN_BUSY for obstacle in self.obstacles)


def needs_sweep(root: Path, paths: ChainPaths) -> bool:
    """Return whether a dead attempt left something. Raises OSError."""
    return bool(recovery.partials(root, paths) or recovery.stray_marks(root, paths))


def needs_care(root: Path, paths: ChainPaths) -> bool:
    """Return whether there may be something to sweep or to free. Raises OSError."""
    return needs_sweep(root, paths) or any(tombstones_in(root, paths))


def tend(root: Path, paths: ChainPaths, owner: str, *, clean: bool) -> Survey:
    """Care for a chain and look at it; `clean`: also put aside orphans. `owner`: the pod's UID.

    Of a chain that somebody else is writing only what can be read is reported. Errors end in the survey.
    """
    survey, lock = Survey(ChainFolder(paths)), None
    with _told(survey, "the chain's lock", root):
        lock = ChainLock.try_acquire(root / paths.lock, root, owner, may_be_nameless=True)
        if lock is None:
            survey.obstacles.append(Obstacle(reason=Hindrance.CHAIN_BUSY, message=_IN_USE))
    survey.is_busy = lock is None
    with lock or nullcontext():
        if lock is not None:
            with _told(survey, "sweeping", root):
                survey.swept = sweep_chain(root, paths, lock.before)
                if clean:  # one that was made before commits did it
                    ensure_folder(root / paths.tombstones, root)
        with _told(survey, "listing", root):
            _look(root, paths, survey, lock, clean=clean)
            survey.is_complete = not (lock and survey.is_stale)
    if survey.is_complete and not any(not item.needed_by for item in survey.waiting):
        survey.obstacles = [one for one in survey.obstacles if one.reason != Hindrance.CHAIN_BUSY]  # stopped nothing
    return survey


def sweep_chain(root: Path, paths: ChainPaths, on_step: Callable[[str], None]) -> int:
    """Remove what dead attempts left in a chain whose lock is held; how many files. Raises OSError.

    `on_step` receives what comes next; it may raise to stop there.
    """
    before = len(recovery.partials(root, paths)) + len(recovery.stray_marks(root, paths))
    recovery.finish_commits(root, paths, None, on_step)
    recovery.sweep(root, paths, on_step)
    return before


@contextmanager
def _told(survey: Survey, doing: str, root: Path) -> Iterator[None]:
    """One chain's trouble is not the others'."""
    try:
        yield
    except OSError as error:
        survey.obstacles.append(obstacle_of(error, doing, root))
    except WorkerError as error:
        survey.obstacles.append(Obstacle(reason=error.reason, doing=doing, message=error.message[:_WORDS]))
    else:
        return
    log.warning("obstacle", folder=survey.chain.paths.folder, message=survey.messages[-1])


def obstacle_of(error: OSError, doing: str, root: Path) -> Obstacle:
    """Return an error of the file system as an obstacle; `root`: of the repository, cut off its path."""
    file = str(error.filename or "").removeprefix(f"{root}/")
    reason = storage_error(error, doing).reason
    return Obstacle(reason=reason, doing=doing, file=file[:_WORDS], message=str(error.strerror or error)[:_WORDS])


def _look(root: Path, paths: ChainPaths, survey: Survey, lock: ChainLock | None, *, clean: bool) -> None:
    survey.chain = read_chain(root, paths)
    survey.obstacles += _flaws(survey.chain, locked=lock is not None)
    if lock is not None:
        with _told(survey, "freeing", root):
            _free(root, survey, lock.before)
    survey.waiting = waiting_tombstones(root, survey.chain)
    survey.disk_files = read_disk_files(root, paths)
    if lock is not None:
        beside = _beside_manifests(root, paths)
        if survey.disk_files.vanished:
            survey.obstacles.append(_vanished(survey.disk_files.vanished[0]))
        if clean and survey.chain.is_understood and not survey.disk_files.vanished:
            with _told(survey, "putting aside", root):
                _put_aside(root, survey, beside, lock)
                survey.disk_files = read_disk_files(root, paths)
                beside = _beside_manifests(root, paths)
        known = [point.manifest for point in survey.chain.points + survey.chain.tombstones]
        unknown = orphans.unknown_files(known, survey.disk_files.files)
        survey.unknown = len(unknown) + len(survey.disk_files.odd) + len(beside) + _odd_folders(root, paths)
    survey.quarantined = count_put_aside(root, paths)


def _flaws(chain: ChainFolder, *, locked: bool) -> Iterator[Obstacle]:
    """Yield what keeps a chain from being understood, so that nothing is freed."""
    for places, reason in (
        (chain.unreadable, Hindrance.MANIFEST_UNREADABLE),
        (chain.newer, Hindrance.MANIFEST_NEWER),
    ):
        for place in places[:MAX_OBSTACLES]:
            yield Obstacle(reason=reason, doing="freeing", file=str(place), message=chain.flaws.get(place, "")[:_WORDS])
    if locked and chain.vanished:
        yield _vanished(str(chain.vanished[0]))


def _vanished(file: str) -> Obstacle:
    text = "it vanished while its folder was being listed, although this worker holds the lock: the listing is stale"
    return Obstacle(reason=Hindrance.LISTING_CHANGED, doing="freeing", file=file, message=text)


def _free(root: Path, survey: Survey, on_step: Callable[[str], None]) -> None:
    freed = free_layers(root, survey.chain, on_step)
    if freed.vanished:
        survey.obstacles.append(_vanished(freed.vanished[0]))
    survey.chain = replace(survey.chain, tombstones=tuple(item.point for item in freed.waiting))


def _put_aside(root: Path, survey: Survey, beside: list[os.DirEntry[str]], lock: ChainLock) -> None:
    paths = survey.chain.paths
    known = [point.manifest for point in survey.chain.points + survey.chain.tombstones]
    files = [PurePosixPath(path) for path in orphans.movable_files(known, survey.disk_files.files)]
    files += [
        paths.backups / entry.name
        for entry in beside
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
    ]
    put_aside(root, paths, files, datetime.now(UTC), lock.before)


def _beside_manifests(root: Path, paths: ChainPaths) -> list[os.DirEntry[str]]:
    """Return what lies among the manifests and is neither one nor ours."""
    try:
        with os.scandir(root / paths.backups) as entries:
            return [entry for entry in entries if not _is_ours(entry.name)]
    except FileNotFoundError:
        return []


def _is_ours(name: str) -> bool:
    return layout.is_manifest(name) or layout.is_unfit(name) or layout.is_partial(name)


def _odd_folders(root: Path, paths: ChainPaths) -> int:
    """Return the entries of the chain's own folder that are none of the layout's."""
    with os.scandir(root / paths.folder) as entries:
        return sum(not (entry.name in _KNOWN or layout.is_disk_folder(entry.name)) for entry in entries)
