"""Search for the restore points of a task in their chain, and the pin of their layers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.chain.manifest import Manifest, ManifestError
from sendense_operator.logs import get_logger
from sendense_operator.task import ChainTask, PointReference
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain, read_manifest
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.merge_switch import finish_merge
from sendense_operator.worker.storage.pins import Pin

log = get_logger(__name__)

_MOST_READS: Final = 5
"""How often a chain is read at most. Merges take longer than reading does."""
_T = TypeVar("_T")


def locate_chain(settings: Settings, task: ChainTask, points: Iterable[PointReference]) -> tuple[Path, ChainPaths]:
    """Return the repository's root and the chain's paths. Raises WorkerError BadTask if the task is not valid."""
    try:
        root = settings.repository / layout.check_root(task.repository_path)
        paths = ChainPaths(task.folder or task.namespace, task.vm)
        for point in points:
            layout.check_backup(point.backup, point.backup_uid)
    except LayoutError as error:
        raise WorkerError(Reason.BAD_TASK, str(error)) from error
    return root, paths


async def read_listing(root: Path, paths: ChainPaths, settings: Settings) -> ChainFolder:
    """Return a chain's manifests as `read_chain` does, for a reader that does not hold the chain's lock.

    A merge that was interrupted while it changed the chain is finished first. Raises WorkerError, ChainBusy if that is
    not possible within `settings.lock_wait`.
    """
    try:
        if merge_journal.is_switching(root, paths):
            with await ChainLock.acquire(root / paths.lock, root, settings.pod_uid, settings.lock_wait) as lock:
                finish_merge(root, paths, lock.before)
        return read_chain(root, paths)
    except OSError as error:
        raise storage_error(error, "reading the chain") from error


class ChainChangedError(WorkerError):
    """Layers of a restore point were merged after the chain was read: it has to be read again."""


async def read_consistently(read: Callable[[], Awaitable[_T]]) -> _T:
    """Return the result of `read`, which is repeated if layers were merged meanwhile. Raises as `read` does."""
    for _ in range(_MOST_READS - 1):
        try:
            return await read()
        except ChainChangedError as error:
            log.info("reading the chain again", reason=error.message)
    return await read()


class PointLookup:
    """Restore points of a chain as it was read once, and whether they are still there."""

    def __init__(self, root: Path, chain: ChainFolder) -> None:
        self._root, self._chain = root, chain

    def find(self, reference: PointReference) -> StoredPoint | None:
        """Return a restore point, None if there is none. An adopted Backup may have another name than its manifest.

        Raises WorkerError if its manifest can't be read.
        """
        found = [point for point in self._chain.points if point.manifest.backup.uid == reference.backup_uid]
        found.sort(key=lambda point: point.manifest.backup.name != reference.backup)
        if found:
            return found[0] if self.is_there(found[0]) else None
        candidates = self._chain.paths.manifests(reference.backup, reference.backup_uid)
        flawed = next((place for place in candidates if place in self._chain.flaws), None)
        if flawed is not None:
            raise WorkerError(Reason.STORAGE_ERROR, f"{flawed} can't be read: {self._chain.flaws[flawed]}")
        if any(self._uid_at(place) == reference.backup_uid for place in candidates):
            raise WorkerError(Reason.STORAGE_ERROR, "the listing of the chain's manifests is stale")
        return None

    def is_there(self, point: StoredPoint) -> bool:
        """Return whether the restore point was not removed meanwhile. Raises WorkerError."""
        return self._uid_at(point.place) == point.manifest.backup.uid

    async def pin(self, point: StoredPoint, layers: Iterable[str], reader: str, wait: float) -> Pin | None:
        """Pin layers of a restore point; return None if it was removed. `reader` and `wait` as for `Pin.create`.

        Raises WorkerError; ChainChangedError if its layers are no longer those with which the chain was read.
        """
        paths = self._chain.paths

        def is_same() -> bool:
            # A merge changes the manifests of all restore points that are read through the merged layer.
            return self._manifest_at(point.place) == point.manifest and not merge_journal.is_switching(
                self._root, paths
            )

        pin = await Pin.create(self._root, paths, reader, layers, is_same, wait)
        if pin is None and self.is_there(point):
            text = f"layers of restore point {point.manifest.backup.name} were merged after the chain was read"
            raise ChainChangedError(Reason.CHAIN_BUSY, text)
        return pin

    def _uid_at(self, place: PurePosixPath) -> str | None:
        """Return the UID in a manifest, None if it does not exist. Raises WorkerError if it can't be read."""
        manifest = self._manifest_at(place)
        return None if manifest is None else manifest.backup.uid

    def _manifest_at(self, place: PurePosixPath) -> Manifest | None:
        try:
            return read_manifest(self._root, place)
        except FileNotFoundError:
            return None
        except ManifestError as error:
            raise WorkerError(Reason.STORAGE_ERROR, f"{place} can't be read: {error}") from error
        except OSError as error:
            raise storage_error(error, f"reading {place}") from error
