"""Verification of one restore point after the other, and of those that share the damage of one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from sendense_operator.answer import PointResult
from sendense_operator.chain.manifest import ManifestDisk, ManifestError
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.chain.parent_choice import BrokenStackError, damage_below, stack_of
from sendense_operator.logs import get_logger
from sendense_operator.task import PointReference, VerificationLevel, VerificationTask
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images.damage_propagation import find_damaged
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain, read_manifest
from sendense_operator.worker.storage.pins import Pin
from sendense_operator.worker.storage.repository_marker import open_repository
from sendense_operator.worker.verification.damage_marks import DamageMarks
from sendense_operator.worker.verification.disk_proofs import DiskProofs
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.summary import Damaged

log = get_logger(__name__)

_Stack = tuple[ManifestDisk, ...]


class PointVerification:
    """Verification of the restore points of one task, whose results go into its state."""

    def __init__(
        self,
        settings: Settings,
        task: VerificationTask,
        state: VerificationState,
        root: Path,
        chain: ChainFolder,
        marks: DamageMarks,
        runtime: Path,
    ) -> None:
        """Initialize; `chain` as it was read when the run began."""
        self._settings, self._task, self._state = settings, task, state
        self._root, self._chain, self._marks, self._runtime = root, chain, marks, runtime
        self._content = task.level is VerificationLevel.CONTENT
        self._choice = ModeChoice()
        self._structure = StructureChecks(root)
        self._proofs = DiskProofs(root, self._structure, self._choice, runtime, state, content=self._content)
        self._positions = {point.backup_uid: at for at, point in enumerate(task.points)}
        self._concluded = set[PurePosixPath]()
        """Manifests of restore points whose content was read in this run: their chunks are not read again."""
        self._searched = dict[str, set[int]]()
        """Chunks that were read through all restore points of a lineage, by the file of its full."""
        self._searched_layers = set[str]()
        self.damaged = dict[str, Damaged]()
        """All restore points that were found damaged, by UID."""
        self.errors = list[tuple[str, WorkerError]]()
        """What proves nothing: name of the restore point, and the error."""
        self.total = len(chain.points)
        """Number of the chain's restore points."""

    async def verify(self, position: int) -> None:
        """Verify the restore point at `position` of the task. Raises no WorkerError: it is a result, too."""
        reference = self._task.points[position]
        try:
            result = await self._verify(reference)
        except WorkerError as error:
            log.warning("a restore point could not be verified", restore_point=reference.backup, error=error)
            self.errors.append((reference.backup, error))
            result = PointResult.FAILED
        if reference.backup_uid in self.damaged and result is not PointResult.GONE:
            result = PointResult.DAMAGED  # known from a newer one, whatever this attempt showed
        self._state.results[position] = result
        log.info("verified", restore_point=reference.backup, result=result.name)

    async def _verify(self, reference: PointReference) -> PointResult:
        point = self._locate(reference)
        if point is None:
            return self._gone()
        stacks, broken = self._stacks(point)
        layers = dict.fromkeys(layer.file for stack in stacks for layer in stack)
        pin = await Pin.create(
            self._root,
            self._chain.paths,
            self._settings.pod_uid,
            layers,
            lambda: self._is_there(point),
            self._settings.pin_wait,
        )
        if pin is None:
            return self._gone()
        with pin:
            return await self._prove(point, stacks, broken)

    async def _prove(
        self, point: StoredPoint, stacks: list[_Stack], broken: list[tuple[_Stack, Unproven]]
    ) -> PointResult:
        """Prove all disks of a restore point, damaged ones too. Raises WorkerError if one of the others failed."""
        found, failure = list(broken), None
        for stack in stacks:
            try:
                await self._proofs.prove(stack)
            except Unproven as error:
                found.append((stack, error))
            except WorkerError as error:
                failure = failure or error
        if not self._is_there(point):
            return self._gone()
        if found:
            self._check_repository()
        for stack, damage in found:
            self._condemn(point, stack[0], damage)
        if self._content and failure is None:
            self._concluded.add(point.place)
        for stack, damage in found:
            await self._search(stack, damage)
        if found:
            return PointResult.DAMAGED
        if failure is not None:
            raise failure
        if self._content:
            self._refute(point, stacks)
        return PointResult.VERIFIED

    def _locate(self, reference: PointReference) -> StoredPoint | None:
        """Return a restore point, None if there is none. An adopted Backup may have another name than its manifest.

        Raises WorkerError if its manifest can't be read.
        """
        found = [point for point in self._chain.points if point.manifest.backup.uid == reference.backup_uid]
        found.sort(key=lambda point: point.manifest.backup.name != reference.backup)
        if found:
            return found[0] if self._is_there(found[0]) else None
        candidates = self._chain.paths.manifests(reference.backup, reference.backup_uid)
        flawed = next((place for place in candidates if place in self._chain.flaws), None)
        if flawed is not None:
            raise WorkerError(Reason.STORAGE_ERROR, f"{flawed} can't be read: {self._chain.flaws[flawed]}")
        if any(self._uid_at(place) == reference.backup_uid for place in candidates):
            raise WorkerError(Reason.STORAGE_ERROR, "the listing of the chain's manifests is stale")
        return None

    def _gone(self) -> PointResult:
        self._check_repository()
        return PointResult.GONE

    def _check_repository(self) -> None:
        """Raise WorkerError if the volume is not the repository any more: then missing files say nothing."""
        open_repository(self._root, self._task.repository_id)

    def _is_there(self, point: StoredPoint) -> bool:
        """Return whether the restore point was not removed meanwhile. Raises WorkerError."""
        return self._uid_at(point.place) == point.manifest.backup.uid

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

    def _stacks(self, point: StoredPoint) -> tuple[list[_Stack], list[tuple[_Stack, Unproven]]]:
        """Return the stacks of all disks, and the disks whose stack is broken. Raises WorkerError if it is unknown."""
        stacks, broken = list[_Stack](), list[tuple[_Stack, Unproven]]()
        known = [*self._chain.points, *self._chain.tombstones]
        for disk in point.manifest.disks:
            try:
                stacks.append(stack_of(disk, known, self._chain.paths))
            except BrokenStackError as error:
                if not self._chain.is_understood:
                    text = f"{error}, but not all manifests of the chain can be read"
                    raise WorkerError(Reason.STORAGE_ERROR, text) from error
                broken.append(((disk,), Unproven(str(error), layer=error.layer)))
        return stacks, broken

    def _condemn(self, point: StoredPoint, disk: ManifestDisk, found: Unproven) -> None:
        """Record a damaged disk, whose mark is written later."""
        backup = point.manifest.backup
        self.damaged.setdefault(backup.uid, Damaged(backup.name, disk.index, str(found)))
        self._marks.add(point, disk, found)
        position = self._positions.get(backup.uid)
        if position is not None:
            self._state.results[position] = PointResult.DAMAGED

    async def _search(self, stack: _Stack, found: Unproven) -> None:
        """Condemn all other restore points that share the damage. An error of the storage only ends the search."""
        searched = self._searched.setdefault(stack[-1].file, set())
        chunks = tuple(chunk for chunk in found.chunks if chunk not in searched)
        if found.layer in self._searched_layers or not (found.layer or chunks):
            return
        wanted = Unproven(str(found), layer=found.layer, chunks=chunks)
        try:
            chain = read_chain(self._root, self._chain.paths)  # a backup may have added restore points meanwhile
            self.total = len(chain.points)
            async for point, disk, damage in find_damaged(
                self._root,
                chain,
                stack,
                wanted,
                self._choice,
                self._runtime,
                self._state.say,
                structure=self._structure,
                proven=self._concluded,
                pace=self._state,
            ):
                if disk.file != stack[0].file and self._is_there(point):
                    self._condemn(point, disk, damage)
        except (OSError, WorkerError) as error:
            log.warning("could not check other restore points for the same damage", error=error)
            return
        searched.update(chunks)
        if found.layer:
            self._searched_layers.add(found.layer)

    def _refute(self, point: StoredPoint, stacks: list[_Stack]) -> None:
        """Remove the damage marks that the proof refutes: its own, and those of layers that it was read through."""
        refuted = dict[PurePosixPath, tuple[StoredPoint, list[Unfit]]]()
        for stack in stacks:
            files = {layer.file for layer in stack}
            for other, disk, mark in damage_below(stack, self._chain.points):
                if disk.file == stack[0].file or mark.layer in files:
                    refuted.setdefault(other.place, (other, []))[1].append(mark)
        for other, marks in refuted.values():
            self._marks.refute(other, marks)
