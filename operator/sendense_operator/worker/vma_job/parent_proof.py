"""What an incremental depends on: chosen, proven before anything is put on it, and marked if it can't be used.

All of it happens under the chain's lock. A parent that fails is marked beside its manifest, so that neither the next
attempt nor the next backup tries it again, and the disk becomes a full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.chain.parent_blocks import Unfit, mark_change, mark_damage
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
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import Unproven, prove, prove_chunks
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, mark_unfit, set_marks
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import is_regular
from sendense_operator.worker.vma_job.damage_propagation import find_damaged
from sendense_operator.worker.vma_job.memory_check import check_memory

log = get_logger(__name__)


class Parents:
    """The restore points of one chain, as this attempt found them."""

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
        """`memory`: bytes that this pod may use, None: no bound is known."""
        self._memory = memory
        self._root, self._paths, self._task, self._chain, self._lock = root, paths, task, chain, lock

    @property
    def sequence(self) -> int:
        """Of the restore point that is being made."""
        return self._chain.next_sequence

    async def plan(self, choice: ModeChoice, runtime: Path, tell: Callable[[str], None]) -> tuple[LayerPlan, ...]:
        """Return what becomes of each disk; every parent in it is proven. `tell` gets what is being done, for a person.

        Raises WorkerError: a FullReason where a disk can't be an increment and the task does not allow a full.
        """
        choices = [self._choose(disk) for disk in self._task.disks]
        # What needs no reading first: a task that is to fail should not read terabytes before.
        self._refuse_missing(choices)
        stacks = [chosen.parent.stack if chosen.parent else () for chosen in choices]
        loads = [
            DiskLoad(disk.virtual_size, len(stack) + 1) for disk, stack in zip(self._task.disks, stacks, strict=True)
        ]
        check_memory(loads, self._memory)
        for position, chosen in enumerate(choices):
            if chosen.parent is not None:
                choices[position] = await self._proven(chosen.parent, chosen.doubt, choice, runtime, tell)
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
        """Return why the newest manifest can't be read, if it may be newer than every restore point; None otherwise."""
        places = [place for place in self._chain.unreadable + self._chain.newer if place.parent == self._paths.backups]
        try:
            newest = max(((self._root / place).lstat().st_mtime_ns, place.name) for place in places) if places else None
            readable = self._chain.points and (self._root / self._chain.points[-1].place).lstat().st_mtime_ns
        except OSError as error:
            raise storage_error(error, "looking at the chain's manifests") from error
        if newest is None or (readable and newest[0] < readable):
            return None
        return f"the manifest {newest[1]} can't be read by this version, and no restore point is newer"

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
        self, parent: ParentLayer, doubt: str, choice: ModeChoice, runtime: Path, tell: Callable[[str], None]
    ) -> Choice:
        self._lock.check()
        if doubt:
            log.warning("damage was noted, so its content is checked again", message=doubt)
        content = bool(doubt) or self._task.parent_check is ParentCheck.CONTENT
        try:
            await prove(self._root, parent, content, choice, runtime, tell)
        except Unproven as error:
            # The newest one last: once it is marked, nobody looks below it again.
            await self._mark_others(parent, error, choice, runtime, tell)
            self._note(self._chain.points[-1], parent.disk, error)
            text = f"restore point {parent.manifest.backup.name}, disk {parent.disk.index}: {error}"
            return Choice(None, FullReason.PARENT_UNVERIFIED, text)
        if doubt:
            await self._lift(parent, choice, runtime)
        return Choice(parent)

    async def _lift(self, parent: ParentLayer, choice: ModeChoice, runtime: Path) -> None:
        """Take back what was noted of a parent that has just been proven, and of the restore points below it.

        Theirs hold as far as the proof does: its layers are sound, and what they are said to read wrongly is read
        again. Trouble leaves a mark where it is.
        """
        files = {layer.file for layer in parent.stack}
        lifted = set[tuple[PurePosixPath, Unfit]]()
        for point, disk, mark in tuple(damage_below(parent.stack, self._chain.points)):
            is_sound = disk.file == parent.disk.file or mark.layer in files
            if is_sound or (mark.chunks and await self._reads_back(parent, disk, mark, choice, runtime)):
                lifted.add((point.place, mark))
        for position, point in enumerate(self._chain.points):
            kept = tuple(mark for mark in point.unfit if (point.place, mark) not in lifted)
            if kept != point.unfit:
                log.info("restore point proven: its damage marks are removed", restore_point=point.manifest.backup.name)
                self._save(position, kept)

    async def _reads_back(
        self, above: ParentLayer, disk: ManifestDisk, mark: Unfit, choice: ModeChoice, runtime: Path
    ) -> bool:
        """Return whether the chunks that were wrong of a `disk` below `above` are right now."""
        depth = next(at for at, layer in enumerate(above.stack) if layer.file == disk.file)
        try:
            await prove_chunks(self._root, above.stack[depth:], mark.chunks, choice, runtime)
        except Unproven:
            return False
        except WorkerError as error:
            log.warning("whether a layer is still damaged can't be found out", file=disk.file, error=error)
            return False
        return True

    def _save(self, position: int, marks: tuple[Unfit, ...]) -> None:
        """Raise WorkerError Fenced."""
        point = self._chain.points[position]
        self._lock.check()
        try:
            set_marks(self._root, point, marks)
        except OSError as error:
            log.warning("damage marks can't be written", manifest=point.place, error=error)
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
        tell: Callable[[str], None],
    ) -> None:
        """Older restore points that have the same damage. Trouble ends the search only."""
        older = replace(self._chain, points=self._chain.points[:-1])
        try:
            async for point, disk, damage in find_damaged(self._root, older, parent, found, choice, runtime, tell):
                self._note(point, disk, damage)
        except WorkerError as error:
            if error.reason == Reason.FENCED:
                raise
            log.warning("what else is damaged can't be found out", error=error)

    def mark(self, parent: ParentLayer, reason: FullReason, message: str) -> None:
        """Note that the change id of a disk of the newest restore point is of no use. Errors are logged.

        Raises WorkerError Fenced.
        """
        self._mark(
            self._chain.points[-1], mark_change(parent.manifest, parent.disk, reason, message, datetime.now(UTC))
        )

    def _note(self, point: StoredPoint, disk: ManifestDisk, found: Unproven) -> None:
        """Note damage of a disk. Raises WorkerError Fenced."""
        at = datetime.now(UTC)
        self._mark(point, mark_damage(point.manifest, disk, str(found), at, layer=found.layer, chunks=found.chunks))

    def _mark(self, of: StoredPoint, mark: Unfit) -> None:
        position, point = next((at, one) for at, one in enumerate(self._chain.points) if one.place == of.place)
        name = point.manifest.backup.name
        log.warning("damaged", restore_point=name, disk=mark.index, reason=mark.reason, message=mark.message)
        marks = (*point.unfit, mark)
        self._lock.check()
        try:
            marks = mark_unfit(self._root, point, (mark,))
        except OSError as error:
            log.warning("the damage can't be noted beside its manifest", error=error)
        self._replace(position, marks)


def _log_plan(plan: LayerPlan) -> None:
    if plan.parent is not None:
        parent = plan.parent.manifest.backup.name
        log.info("planned an increment", disk=plan.disk.index, parent=parent, parent_file=plan.parent.disk.file)
    elif plan.reason is not None:
        log.warning("planned a full", disk=plan.disk.index, reason=plan.reason, message=plan.message)


def missing_parent(root: Path, manifest: Manifest) -> str | None:
    """Return the first layer that an increment depends on and that is gone, None when all are there."""
    parents = (disk.parent.file for disk in manifest.disks if disk.parent)
    return next((file for file in parents if not is_regular(root / file)), None)
