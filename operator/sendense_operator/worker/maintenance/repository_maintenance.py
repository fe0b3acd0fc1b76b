"""Maintenance of a repository: check of its marker, its capacity and that it is writable; removals; scan.

Restore points are removed, layers that no restore point needs are freed, leftovers of attempts that died are swept, and
a scan writes the catalogue of the content to the log.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.answer import Answer, CatalogueSeal, ImmutableBit
from sendense_operator.catalogue_format import MAX_FOLDERS, CatalogueWriter, Obstacle, ObstacleReason, RootRecord
from sendense_operator.chain import layout
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.logs import emit_line, get_logger
from sendense_operator.task import ProbeTask, Removal
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.maintenance import chain_maintenance
from sendense_operator.worker.maintenance.chain_maintenance import Survey
from sendense_operator.worker.maintenance.scan_records import chain_records
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import repository_listing, repository_marker
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import ensure_folder, is_folder
from sendense_operator.worker.storage.immutable_bit import find_support
from sendense_operator.worker.storage.repository_listing import FolderListing
from sendense_operator.worker.storage.tombstones import RetainedError, entomb

log = get_logger(__name__)


def run_probe(settings: Settings, task: ProbeTask, emit: Callable[[str], None] = emit_line) -> Answer:
    """Maintain the repository; `emit` receives the lines of the catalogue. Raises WorkerError if it can't be used."""
    started = datetime.now(UTC)
    root, removals = _places(settings, task)
    if task.expected_id is None:
        try:
            ensure_folder(root, settings.repository)
        except OSError as error:
            raise storage_error(error, "creating the repository's folder") from error
    identity = repository_marker.init_repository(root, task.repository_uid, task.expected_id)
    full = _is_full(root, settings.pod_uid)
    try:
        bit = _immutable_bit(root, settings.pod_uid, task)
        swept, seal = _Maintenance(root, settings.pod_uid, task, emit, bit).run(removals)
    except OSError as error:
        raise storage_error(error, "maintaining the repository") from error
    if full:
        repository_marker.check_writable(root, settings.pod_uid)
    return Answer(
        outcome="Completed",
        repository_id=identity,
        capacity=repository_marker.capacity(root),
        swept=swept,
        started=started,
        finished=datetime.now(UTC),
        catalogue=seal,
        immutable_bit=bit or "",
    )


def _immutable_bit(root: Path, tag: str, task: ProbeTask) -> ImmutableBit | None:
    """Return whether the immutable bit can be set; None where nothing becomes immutable, or on a full volume."""
    if task.immutability is None or task.immutability.days is None:
        return None
    try:
        return find_support(root, tag)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return None
        raise


def _is_full(root: Path, tag: str) -> bool:
    """Return whether the volume is full, which removals may change. Raises WorkerError if it can't be written."""
    try:
        repository_marker.check_writable(root, tag)
    except WorkerError as error:
        if error.reason != Reason.REPOSITORY_FULL:
            raise
        log.warning("the volume is full: removals and freeing are tried first", error=error)
        return True
    return False


def _places(settings: Settings, task: ProbeTask) -> tuple[Path, dict[ChainPaths, list[Removal]]]:
    """Return the root and the removals by chain, checked before anything is changed. Raises WorkerError BadTask."""
    removals: dict[ChainPaths, list[Removal]] = {}
    try:
        layout.check_folder(_folder(task))
        for removal in task.remove:
            paths = ChainPaths(_folder(task), removal.vm)
            paths.manifests(removal.backup, removal.backup_uid)
            removals.setdefault(paths, []).append(removal)
        return settings.repository / layout.check_root(task.repository_path), removals
    except LayoutError as error:
        raise WorkerError(Reason.BAD_TASK, str(error)) from error


def _folder(task: ProbeTask) -> str:
    return task.folder or task.namespace


def _refusal(error: RetainedError) -> Obstacle:
    return Obstacle(reason=ObstacleReason.RETAINED, doing="removing", file=str(error.place), message=str(error))


class _Maintenance:
    """One run over all chains, one after the other, so that the memory needed does not grow with their number."""

    def __init__(
        self, root: Path, owner: str, task: ProbeTask, emit: Callable[[str], None], bit: ImmutableBit | None
    ) -> None:
        self._root, self._owner, self._task = root, owner, task
        self._folder = _folder(task)
        self._writer = CatalogueWriter(emit)
        self._swept = 0
        self._rule = ImmutabilityRule.of(task.immutability)
        self._sets_bits = bit is ImmutableBit.USED
        self._is_blocked = False
        """Whether a chain has an obstacle; it is then reported although the task did not name it."""

    def run(self, removals: dict[ChainPaths, list[Removal]]) -> tuple[int, CatalogueSeal | None]:
        """Return the number of swept files, and the seal of the catalogue if one was written. Raises OSError."""
        obstacles = {paths: self._remove(paths, requested) for paths, requested in removals.items()}
        self._swept += repository_listing.sweep_root(self._root)
        complete, unknown, others = True, 0, list[str]()
        try:
            listing = repository_listing.list_root(self._root)
            own = repository_listing.list_chains(self._root, self._folder)
            unknown = listing.unknown + own.unknown
        except OSError as error:
            log.warning("the repository's folders can't be listed", error=error)
            complete, listing, own = False, FolderListing(), FolderListing()
        for vm in sorted({*own.names, *(paths.vm for paths in removals)}):
            paths = ChainPaths(self._folder, vm)
            self._maintain(paths, requested=paths in removals, obstacles=obstacles.get(paths, []))
        for folder in listing.names:
            if folder != self._folder and self._sweep_other(folder):
                others.append(folder)
        if not self._task.scan:
            return self._swept, self._writer.close() if removals or self._is_blocked else None
        self._writer.add(RootRecord(complete=complete, unknown=unknown, other_folders=tuple(others[:MAX_FOLDERS])))
        return self._swept, self._writer.close()

    def _remove(self, paths: ChainPaths, requested: Iterable[Removal]) -> list[Obstacle]:
        """Remove restore points of a chain; return an obstacle for each that is immutable, and one if that failed."""
        obstacles = list[Obstacle]()
        try:
            for removal in requested:
                try:
                    entomb(self._root, paths, removal, rule=self._rule)
                except RetainedError as error:
                    log.warning("removal refused", path=error.place, error=error)
                    obstacles.append(_refusal(error))
        except OSError as error:
            log.warning("removal failed", folder=paths.folder, error=error)
            obstacles.insert(0, chain_maintenance.obstacle_of(error, "removing", self._root))
        return obstacles

    def _maintain(self, paths: ChainPaths, *, requested: bool, obstacles: list[Obstacle]) -> None:
        reported = requested or self._task.scan
        if not is_folder(self._root / paths.folder):
            return  # the controller takes a chain that it requested and that is not reported as missing
        try:
            if not reported and not chain_maintenance.needs_maintenance(self._root, paths):
                return
        except OSError as error:
            log.warning("maintenance failed", folder=paths.folder, error=error)
            return
        survey: Survey = chain_maintenance.maintain(
            self._root, paths, self._owner, clean=self._task.scan, rule=self._rule, sets_bits=self._sets_bits
        )
        self._swept += survey.swept
        survey.obstacles[:0] = obstacles
        self._is_blocked = self._is_blocked or survey.is_blocked
        if reported or survey.is_blocked:
            for record in chain_records(survey):
                self._writer.add(record)

    def _sweep_other(self, folder: str) -> bool:
        """Sweep the chains of another namespace; return whether there are any."""
        try:
            names = repository_listing.list_chains(self._root, folder).names
        except OSError as error:
            log.warning("sweeping failed", folder=folder, error=error)
            return False
        for vm in names:
            self._sweep(ChainPaths(folder, vm))
        return bool(names)

    def _sweep(self, paths: ChainPaths) -> None:
        try:
            if not chain_maintenance.needs_sweep(self._root, paths):
                return
            lock = ChainLock.try_acquire(self._root / paths.lock, self._root, self._owner, may_lack_record=True)
            if lock is not None:
                with lock:
                    self._swept += chain_maintenance.sweep_chain(self._root, paths, lock.before)
        except (OSError, WorkerError) as error:
            log.warning("sweeping failed", folder=paths.folder, error=error)
