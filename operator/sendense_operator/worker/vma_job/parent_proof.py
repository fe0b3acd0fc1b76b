"""Choice and proof of the parents of increments.

Each parent is proven before an increment is based on it. A parent that fails is marked beside its manifest, so that
neither the next attempt nor the next backup uses it, and its disk becomes a full. All of it happens under the chain's
lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.chain.parent_blocks import MOST_CHUNKS, Unfit, mark_change, mark_damage
from sendense_operator.chain.parent_choice import (
    Choice,
    LayerPlan,
    ParentLayer,
    choose_parent,
    damage_below,
    plan_layers,
)
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, BackupType, FullReason, MissingParent, ParentCheck, TaskDisk
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images.damage_propagation import find_damaged
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import prove, prove_chunks
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, mark_unfit, set_marks
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import is_regular
from sendense_operator.worker.vma_job.memory_check import check_memory

log = get_logger(__name__)


class Parents:
    """The restore points of one chain as this attempt found them, with the marks that it has added or removed."""

    def __init__(
        self,
        root: Path,
        paths: ChainPaths,
        task: BackupTask,
        chain: ChainFolder,
        lock: ChainLock,
        *,
        memory: int | None = None,
    ) -> None:
        """Initialize; `memory`: bytes that this pod may use, None if no limit is known."""
        self._memory = memory
        self._root, self._paths, self._task, self._chain, self._lock = root, paths, task, chain, lock

    @property
    def sequence(self) -> int:
        """Sequence number of the restore point that is being made."""
        return self._chain.next_sequence

    async def plan(self, choice: ModeChoice, runtime: Path, report: Callable[[str], None]) -> tuple[LayerPlan, ...]:
        """Return the plan of each disk; every parent in it is proven. `report` receives progress messages.

        Raises WorkerError, with a FullReason as its reason if a disk can't be an increment and the task allows no full.
        """
        choices = [self._choose(disk) for disk in self._task.disks]
        # First what needs no reading: a task that fails anyway should not read terabytes before.
        self._refuse_missing(choices)
        stacks = [chosen.parent.stack if chosen.parent else () for chosen in choices]
        loads = [
            DiskLoad(disk.virtual_size, len(stack) + 1) for disk, stack in zip(self._task.disks, stacks, strict=True)
        ]
        check_memory(loads, self._memory)
        for position, chosen in enumerate(choices):
            if chosen.parent is not None:
                choices[position] = await self._proven(chosen.parent, chosen.doubt, choice, runtime, report)
                self._refuse_missing(choices)
        plans = plan_layers(self._task.disks, choices, self._paths)
        for plan in plans:
            _log_plan(plan)
        return plans

    def _choose(self, disk: TaskDisk) -> Choice:
        if self._task.type is BackupType.FULL:
            return Choice()
        unknown = self._newest_unknown()
        if unknown is not None:
            return Choice(None, FullReason.PARENT_UNVERIFIED, unknown)
        return choose_parent(disk, self._chain.points, self._chain.tombstones, self._paths, self._task.max_depth)

    def _newest_unknown(self) -> str | None:
        """Return a message if an unreadable manifest may be newer than every restore point, else None."""
        places = [place for place in self._chain.unreadable + self._chain.newer if place.parent == self._paths.backups]
        try:
            newest = max(((self._root / place).lstat().st_mtime_ns, place.name) for place in places) if places else None
            readable = self._chain.points and (self._root / self._chain.points[-1].place).lstat().st_mtime_ns
        except OSError as error:
            raise storage_error(error, "reading the chain's manifests") from error
        if newest is None or (readable and newest[0] < readable):
            return None
        return f"this version can't read the manifest {newest[1]}, and no readable restore point is newer"

    def _refuse_missing(self, choices: Sequence[Choice]) -> None:
        if self._task.on_missing_parent is not MissingParent.FAIL:
            return
        for disk, chosen in zip(self._task.disks, choices, strict=True):
            if chosen.reason is not None:
                raise WorkerError(
                    chosen.reason,
                    f"disk {disk.index} can't be an increment: {chosen.message}. Make a backup of type Full first, or "
                    "set spec.onMissingParent to Full",
                )

    async def _proven(
        self, parent: ParentLayer, doubt: str, choice: ModeChoice, runtime: Path, report: Callable[[str], None]
    ) -> Choice:
        self._lock.check()
        if doubt:
            log.warning("the parent is marked as damaged, so its content is checked again", message=doubt)
        content = bool(doubt) or self._task.parent_check is ParentCheck.CONTENT
        try:
            await prove(self._root, parent, content, choice, runtime, report)
        except Unproven as error:
            # The newest one last: once it is marked, no later attempt examines the restore points below it.
            await self._mark_others(parent, error, choice, runtime, report)
            self._mark_damage(self._chain.points[-1], parent.disk, error)
            text = f"restore point {parent.manifest.backup.name}, disk {parent.disk.index}: {error}"
            return Choice(None, FullReason.PARENT_UNVERIFIED, text)
        if doubt:
            await self._remove_marks(parent, choice, runtime)
        return Choice(parent)

    async def _remove_marks(self, parent: ParentLayer, choice: ModeChoice, runtime: Path) -> None:
        """Remove the damage marks that the proof of `parent` refutes, from it and from the restore points below it.

        The proof refutes marks of the parent itself and of its layers. For marks of other disks below it, the chunks
        that were damaged are read again; if that fails, the mark stays.
        """
        files = {layer.file for layer in parent.stack}
        refuted = set[tuple[PurePosixPath, Unfit]]()
        for point, disk, mark in tuple(damage_below(parent.stack, self._chain.points)):
            is_sound = disk.file == parent.disk.file or mark.layer in files
            if is_sound or (mark.chunks and await self._reads_back(parent, disk, mark, choice, runtime)):
                refuted.add((point.place, mark))
        for position, point in enumerate(self._chain.points):
            kept = tuple(mark for mark in point.unfit if (point.place, mark) not in refuted)
            if kept != point.unfit:
                log.info("restore point proven: its damage marks are removed", restore_point=point.manifest.backup.name)
                self._save(position, kept)

    async def _reads_back(
        self, above: ParentLayer, disk: ManifestDisk, mark: Unfit, choice: ModeChoice, runtime: Path
    ) -> bool:
        """Return whether the damaged chunks of `disk`, which `above` depends on, now read back as their digests say."""
        depth = next(at for at, layer in enumerate(above.stack) if layer.file == disk.file)
        try:
            await prove_chunks(self._root, above.stack[depth:], mark.chunks, choice, runtime)
        except Unproven:
            return False
        except WorkerError as error:
            log.warning("could not check whether a layer is still damaged", file=disk.file, error=error)
            return False
        return True

    def _save(self, position: int, marks: tuple[Unfit, ...]) -> None:
        """Write the marks of a restore point. Errors of the storage are logged. Raises WorkerError Fenced."""
        point = self._chain.points[position]
        self._lock.check()
        try:
            set_marks(self._root, point, marks)
        except OSError as error:
            log.warning("the damage marks could not be written", manifest=point.place, error=error)
            return
        self._replace(position, marks)

    def _replace(self, position: int, marks: tuple[Unfit, ...]) -> None:
        points = list(self._chain.points)
        points[position] = replace(points[position], unfit=marks)
        self._chain = replace(self._chain, points=tuple(points))

    async def _mark_others(
        self,
        parent: ParentLayer,
        found: Unproven,
        choice: ModeChoice,
        runtime: Path,
        report: Callable[[str], None],
    ) -> None:
        """Mark the older restore points that have the same damage. An error other than Fenced only ends the search."""
        # It has to happen now: the next backup is a full, so no later attempt reads the layers below.
        older = replace(self._chain, points=self._chain.points[:-1])
        found = Unproven(str(found), layer=found.layer, chunks=found.chunks[:MOST_CHUNKS])
        try:
            async for point, disk, damage in find_damaged(
                self._root, older, parent.stack, found, choice, runtime, report
            ):
                self._mark_damage(point, disk, damage)
        except WorkerError as error:
            if error.reason == Reason.FENCED:
                raise
            log.warning("could not check older restore points for the same damage", error=error)

    def mark(self, parent: ParentLayer, reason: FullReason, message: str) -> None:
        """Mark the change ID of a disk of the newest restore point as unusable.

        Errors of the storage are logged. Raises WorkerError Fenced.
        """
        self._add_mark(
            self._chain.points[-1], mark_change(parent.manifest, parent.disk, reason, message, datetime.now(UTC))
        )

    def _mark_damage(self, point: StoredPoint, disk: ManifestDisk, found: Unproven) -> None:
        """Mark a disk of a restore point as damaged. Raises WorkerError Fenced."""
        at = datetime.now(UTC)
        self._add_mark(point, mark_damage(point.manifest, disk, str(found), at, layer=found.layer, chunks=found.chunks))

    def _add_mark(self, marked: StoredPoint, mark: Unfit) -> None:
        points = enumerate(self._chain.points)
        position, point = next((at, point) for at, point in points if point.place == marked.place)
        name = point.manifest.backup.name
        log.warning("unusable as parent", restore_point=name, disk=mark.index, reason=mark.reason, message=mark.message)
        marks = (*point.unfit, mark)
        self._lock.check()
        try:
            marks = mark_unfit(self._root, point, (mark,))
        except OSError as error:
            log.warning("the mark could not be written beside the manifest", error=error)
        self._replace(position, marks)


def _log_plan(plan: LayerPlan) -> None:
    if plan.parent is not None:
        parent = plan.parent.manifest.backup.name
        log.info("planned an increment", disk=plan.disk.index, parent=parent, parent_file=plan.parent.disk.file)
    elif plan.reason is not None:
        log.warning("planned a full", disk=plan.disk.index, reason=plan.reason, message=plan.message)


def missing_parent(root: Path, manifest: Manifest) -> str | None:
    """Return the path of the first parent's layer that is missing; None if all exist."""
    parents = (disk.parent.file for disk in manifest.disks if disk.parent)
    return next((file for file in parents if not is_regular(root / file)), None)
