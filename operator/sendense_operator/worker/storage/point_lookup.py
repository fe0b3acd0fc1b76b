"""Search for the restore points of a task in their chain, and the pin of their layers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths, LayoutError
from sendense_operator.chain.manifest import ManifestError
from sendense_operator.task import PointReference
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain, read_manifest
from sendense_operator.worker.storage.pins import Pin


class ChainTask(Protocol):
    """The fields of a task that say where a chain is."""

    @property
    def namespace(self) -> str:
        """Namespace of the chain."""

    @property
    def folder(self) -> str:
        """Folder of the namespace's chains; empty: the namespace."""

    @property
    def vm(self) -> str:
        """Name of the ProtectedVM."""

    @property
    def repository_path(self) -> str:
        """Folder of the volume that is the repository's root; empty: the volume's root."""


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


def read_listing(root: Path, paths: ChainPaths) -> ChainFolder:
    """Return a chain's manifests as `read_chain` does. Raises WorkerError."""
    try:
        return read_chain(root, paths)
    except OSError as error:
        raise storage_error(error, "reading the chain") from error


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
        """Pin layers of a restore point; return None if it was removed. `reader` and `wait` as for `Pin.create`."""
        return await Pin.create(self._root, self._chain.paths, reader, layers, lambda: self.is_there(point), wait)

    def _uid_at(self, place: PurePosixPath) -> str | None:
        """Return the UID in a manifest, None if it does not exist. Raises WorkerError if it can't be read."""
        try:
            return read_manifest(self._root, place).backup.uid
        except FileNotFoundError:
            return None
        except ManifestError as error:
            raise WorkerError(Reason.STORAGE_ERROR, f"{place} can't be read: {error}") from error
        except OSError as error:
            raise storage_error(error, f"reading {place}") from error
