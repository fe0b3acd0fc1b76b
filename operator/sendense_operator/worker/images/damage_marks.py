"""Changes of damage marks that reading restore points showed, written once the chain's lock can be had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import Unfit, mark_damage
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import StoredPoint, mark_unfit, read_chain, set_marks
from sendense_operator.worker.storage.chain_lock import ChainLock

log = get_logger(__name__)


@dataclass(frozen=True)
class _Change:
    """A change of the marks of one restore point."""

    place: PurePosixPath
    uid: str
    add: tuple[Unfit, ...] = ()
    refuted: tuple[Unfit, ...] = ()

    def apply_to(self, root: Path, point: StoredPoint) -> StoredPoint:
        """Write the marks of `point`, as it was read under the lock. Raises OSError."""
        kept = tuple(mark for mark in point.unfit if mark not in self.refuted)
        if self.add:
            marks = mark_unfit(root, StoredPoint(point.place, point.manifest, kept), self.add)
            return StoredPoint(point.place, point.manifest, marks)
        if kept != point.unfit:
            log.info("restore point proven: its damage marks are removed", restore_point=point.manifest.backup.name)
            set_marks(root, point, kept)
        return StoredPoint(point.place, point.manifest, kept)


class DamageMarks:
    """Changes that wait for the chain's lock, which a backup may hold for hours."""

    def __init__(self, root: Path, paths: ChainPaths, owner: str) -> None:
        """Initialize; `owner`: pod UID for the lock's record."""
        self._root, self._paths, self._owner = root, paths, owner
        self._waiting: list[_Change] = []

    def add(self, point: StoredPoint, disk: ManifestDisk, found: Unproven) -> None:
        """Mark a disk of a restore point as damaged."""
        mark = mark_damage(point.manifest, disk, str(found), datetime.now(UTC), layer=found.layer, chunks=found.chunks)
        name = point.manifest.backup.name
        log.warning("restore point damaged", restore_point=name, disk=disk.index, message=mark.message)
        self._waiting.append(_Change(point.place, point.manifest.backup.uid, add=(mark,)))

    def refute(self, point: StoredPoint, marks: Iterable[Unfit]) -> None:
        """Remove marks of a restore point, which a proof has refuted. Marks that were added meanwhile are kept."""
        refuted = tuple(marks)
        if refuted:
            self._waiting.append(_Change(point.place, point.manifest.backup.uid, refuted=refuted))

    async def write(self, wait: float) -> bool:
        """Write what waits, if the chain's lock can be had within `wait` seconds; return whether nothing is left.

        The chain is read again under the lock. Restore points that were removed meanwhile are skipped. Errors are
        logged, except a lock that is held by a backup if `wait` is 0.
        """
        if not self._waiting:
            return True
        try:
            lock = await ChainLock.acquire(self._root / self._paths.lock, self._root, self._owner, wait)
            with lock:
                self._write(lock)
        except (OSError, WorkerError) as error:
            if wait or not isinstance(error, WorkerError) or error.reason != Reason.CHAIN_BUSY:
                log.warning("the damage marks could not be written", error=error)
            return False
        return True

    def _write(self, lock: ChainLock) -> None:
        points = {point.place: point for point in read_chain(self._root, self._paths).points}
        while self._waiting:
            change = self._waiting[0]
            point = points.get(change.place)
            if point is not None and point.manifest.backup.uid == change.uid:
                lock.check()
                points[change.place] = change.apply_to(self._root, point)
            self._waiting.pop(0)
