"""Verification of one restore point after the other, and of those that share the damage of one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from sendense_operator.answer import PointResult
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.chain.parent_choice import damage_below
from sendense_operator.logs import get_logger
from sendense_operator.task import PointReference, VerificationLevel, VerificationTask
from sendense_operator.worker.errors import WorkerError
from sendense_operator.worker.images.damage_marks import DamageMarks
from sendense_operator.worker.images.damage_propagation import find_damaged
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.point_stacks import Stack, layers_in, stacks_of
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint, read_chain
from sendense_operator.worker.storage.point_lookup import (
    ChainChangedError,
    PointLookup,
    read_consistently,
    read_listing,
)
from sendense_operator.worker.storage.repository_marker import open_repository
from sendense_operator.worker.verification.disk_proofs import DiskProofs
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.summary import Damaged

log = get_logger(__name__)


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
        self._lookup = PointLookup(root, chain)
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
            result = await read_consistently(lambda: self._verify(reference))
        except WorkerError as error:
            log.warning("a restore point could not be verified", restore_point=reference.backup, error=error)
            self.errors.append((reference.backup, error))
            result = PointResult.FAILED
        if reference.backup_uid in self.damaged and result is not PointResult.GONE:
            result = PointResult.DAMAGED  # known from a newer one, whatever this attempt showed
        self._state.results[position] = result
        log.info("verified", restore_point=reference.backup, result=result.name)

    async def _verify(self, reference: PointReference) -> PointResult:
        point = self._lookup.find(reference)
        if point is None:
            return self._gone()
        stacks, broken = stacks_of(point.manifest.disks, self._chain)
        try:
            pin = await self._lookup.pin(point, layers_in(stacks), self._settings.pod_uid, self._settings.pin_wait)
        except ChainChangedError:
            await self._read_again()
            raise
        if pin is None:
            return self._gone()
        with pin:
            return await self._prove(point, stacks, broken)

    async def _read_again(self) -> None:
        """Read the chain again, because layers were merged since it was read. Raises WorkerError."""
        self._chain = await read_listing(self._root, self._chain.paths, self._settings)
        self._lookup = PointLookup(self._root, self._chain)

    async def _prove(
        self, point: StoredPoint, stacks: list[Stack], broken: list[tuple[Stack, Unproven]]
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
        if not self._lookup.is_there(point):
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

    def _gone(self) -> PointResult:
        self._check_repository()
        return PointResult.GONE

    def _check_repository(self) -> None:
        """Raise WorkerError if the volume is not the repository any more: then missing files say nothing."""
        open_repository(self._root, self._task.repository_id)

    def _condemn(self, point: StoredPoint, disk: ManifestDisk, found: Unproven) -> None:
        """Record a damaged disk, whose mark is written later."""
        backup = point.manifest.backup
        self.damaged.setdefault(backup.uid, Damaged(backup.name, disk.index, str(found)))
        self._marks.add(point, disk, found)
        position = self._positions.get(backup.uid)
        if position is not None:
            self._state.results[position] = PointResult.DAMAGED

    async def _search(self, stack: Stack, found: Unproven) -> None:
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
                if disk.file != stack[0].file and self._lookup.is_there(point):
                    self._condemn(point, disk, damage)
        except (OSError, WorkerError) as error:
            log.warning("could not check other restore points for the same damage", error=error)
            return
        searched.update(chunks)
        if found.layer:
            self._searched_layers.add(found.layer)

    def _refute(self, point: StoredPoint, stacks: list[Stack]) -> None:
        """Remove the damage marks that the proof refutes: its own, and those of layers that it was read through."""
        refuted = dict[PurePosixPath, tuple[StoredPoint, list[Unfit]]]()
        for stack in stacks:
            files = {layer.file for layer in stack}
            for other, disk, mark in damage_below(stack, self._chain.points):
                if disk.file == stack[0].file or mark.layer in files:
                    refuted.setdefault(other.place, (other, []))[1].append(mark)
        for other, marks in refuted.values():
            self._marks.refute(other, marks)
