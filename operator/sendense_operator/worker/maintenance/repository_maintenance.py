"""Care for a repository: is it one, can it be written, how much room is there, what does it hold.

Restore points are removed, layers that nobody needs are freed, what dead attempts left is swept, and what is found
goes to the log as a catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.catalogue_format import MAX_FOLDERS, CatalogueWriter, Obstacle, RootRecord
from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.logs import emit_line, get_logger
from sendense_operator.task import Answer, CatalogueSeal, ProbeTask, Removal
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.maintenance import chain_maintenance
from sendense_operator.worker.maintenance.chain_maintenance import Survey
from sendense_operator.worker.maintenance.scan_records import chain_records
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import repository_listing, repository_marker
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import ensure_folder, is_folder
from sendense_operator.worker.storage.repository_listing import FolderListing
from sendense_operator.worker.storage.tombstones import entomb

log = get_logger(__name__)


def run_probe(settings: Settings, task: ProbeTask, emit: Callable[[str], None] = emit_line) -> Answer:
    """Look after the repository; lines of the catalogue go to `emit`. Raises WorkerError when it can't be used."""
    started = datetime.now(UTC)
    root, removals = _places(settings, task)
    if task.expected_id is None:
        try:
            ensure_folder(root, settings.repository)
        except OSError as error:
            raise storage_error(error, "making the repository's folder") from error
    identity = repository_marker.init_repository(root, task.repository_uid, task.expected_id)
    full = _is_full(root, settings.pod_uid)
    try:
        swept, seal = _Round(root, settings.pod_uid, task, emit).go(removals)
    except OSError as error:
        raise storage_error(error, "looking after the repository") from error
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
    )


def _is_full(root: Path, tag: str) -> bool:
    """Return whether the volume is full, which removals may end. Raises WorkerError for other reasons."""
    try:
        repository_marker.check_writable(root, tag)
    except WorkerError as error:
        if error.reason != Reason.REPOSITORY_FULL:
            raise
        log.warning("what can be removed is removed first", error=error)
        return True
    return False


def _places(settings: Settings, task: ProbeTask) -> tuple[Path, dict[ChainPaths, list[Removal]]]:
    """Return the root and what is to be removed by chain, checked before anything is touched. Raises WorkerError."""
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


class _Round:
    """One round through all chains, one at a time: memory stays flat."""

    def __init__(self, root: Path, owner: str, task: ProbeTask, emit: Callable[[str], None]) -> None:
        self._root, self._owner, self._task = root, owner, task
        self._folder = _folder(task)
        self._writer = CatalogueWriter(emit)
        self._swept = 0
        self._hindered = False
        """Whether a chain that nobody asked for is reported, too: something is in the way there."""

    def go(self, removals: dict[ChainPaths, list[Removal]]) -> tuple[int, CatalogueSeal | None]:
        """Return how many files were swept, and the seal of what was reported. Raises OSError."""
        troubles = {paths: self._remove(paths, asked) for paths, asked in removals.items()}
        self._swept += repository_listing.sweep_root(self._root)
        complete, unknown, others = True, 0, list[str]()
        try:
            listing = repository_listing.list_root(self._root)
            mine = repository_listing.list_chains(self._root, self._folder)
            unknown = listing.unknown + mine.unknown
        except OSError as error:
            log.warning("the repository's folders can't be listed", error=error)
            complete, listing, mine = False, FolderListing(), FolderListing()
        for vm in sorted({*mine.names, *(paths.vm for paths in removals)}):
            paths = ChainPaths(self._folder, vm)
            self._care(paths, asked=paths in removals, trouble=troubles.get(paths))
        for folder in listing.names:
            if folder != self._folder and self._sweep_other(folder):
                others.append(folder)
        if not self._task.scan:
            return self._swept, self._writer.close() if removals or self._hindered else None
        self._writer.add(RootRecord(complete=complete, unknown=unknown, other_folders=tuple(others[:MAX_FOLDERS])))
        return self._swept, self._writer.close()

    def _remove(self, paths: ChainPaths, asked: Iterable[Removal]) -> Obstacle | None:
        """Return what went wrong."""
        try:
            for removal in asked:
                entomb(self._root, paths, removal)
        except OSError as error:
            log.warning("removal failed", folder=paths.folder, error=error)
            return chain_maintenance.obstacle_of(error, "removing", self._root)
        return None

    def _care(self, paths: ChainPaths, *, asked: bool, trouble: Obstacle | None) -> None:
        reported = asked or self._task.scan
        if not is_folder(self._root / paths.folder):
            return  # the controller knows: a chain that is asked for and not reported is not there
        try:
            if not reported and not chain_maintenance.needs_care(self._root, paths):
                return
        except OSError as error:
            log.warning("maintenance failed", folder=paths.folder, error=error)
            return
        survey: Survey = chain_maintenance.tend(self._root, paths, self._owner, clean=self._task.scan)
        self._swept += survey.swept
        if trouble is not None:
            survey.obstacles.insert(0, trouble)
        self._hindered = self._hindered or survey.is_hindered
        if reported or survey.is_hindered:
            for record in chain_records(survey):
                self._writer.add(record)

    def _sweep_other(self, folder: str) -> bool:
        """Remove what dead attempts left in another namespace's chains; whether there are any."""
        try:
            names = repository_listing.list_chains(self._root, folder).names
        except OSError as error:
            log.warning("not swept", folder=folder, error=error)
            return False
        for vm in names:
            self._sweep(ChainPaths(folder, vm))
        return bool(names)

    def _sweep(self, paths: ChainPaths) -> None:
        try:
            if not chain_maintenance.needs_sweep(self._root, paths):
                return
            lock = ChainLock.try_acquire(self._root / paths.lock, self._root, self._owner, may_be_nameless=True)
            if lock is not None:
                with lock:
                    self._swept += chain_maintenance.sweep_chain(self._root, paths, lock.before)
        except (OSError, WorkerError) as error:
            log.warning("not swept", folder=paths.folder, error=error)
