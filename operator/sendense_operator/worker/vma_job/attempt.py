"""One attempt to copy a VM: exports, the VMA's job, verification and commit. A failed attempt leaves nothing behind."""

from __future__ import annotations

import asyncio
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sendense_operator.chain.compaction import CompactionResult
from sendense_operator.chain.extents import worst_case_bytes
from sendense_operator.chain.immutability import ImmutabilityRule, until_of_commit
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.chain.parent_choice import LayerPlan
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, BackupType, FullReason, MissingParent, Stage
from sendense_operator.vma.callback_rules import DiskPlan
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker.errors import Reason, WorkerError, not_an_increment
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.layer_compaction import CompactionRun
from sendense_operator.worker.images.layer_verification import Arrival, Examined, Sealed, examine, seal
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage import recovery
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import commit, no_step
from sendense_operator.worker.storage.repository_marker import capacity
from sendense_operator.worker.storage.tombstones import free_layers
from sendense_operator.worker.vma_job import client_release
from sendense_operator.worker.vma_job.attempt_exports import DiskExport, ExportSet
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.job_supervision import Supervisor
from sendense_operator.worker.vma_job.parent_proof import Parents, missing_parent
from sendense_operator.worker.vma_job.preflight import Preflight, preflight
from sendense_operator.worker.vma_job.reported_hardware import reported_hardware

log = get_logger(__name__)


class Attempt:
    """One attempt: `plan`, `copy`, `verify`, `commit`, in this order; `abandon` if one fails; `close` in every case."""

    def __init__(
        self,
        settings: Settings,
        task: BackupTask,
        state: JobState,
        root: Path,
        paths: ChainPaths,
        lock: ChainLock,
        parents: Parents,
    ) -> None:
        self._settings, self._task, self._state = settings, task, state
        self._root, self._paths, self._lock = root, paths, lock
        self._runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
        self._exports = ExportSet(task, settings, root, paths, self._runtime)
        self._parents = parents
        self._supervisor: Supervisor | None = None

    async def plan(self) -> tuple[LayerPlan, ...]:
        """Return the plan of each disk; the parent of each increment in it is proven. Raises WorkerError."""
        self._state.stage = Stage.CHECKING_PARENT
        plans = await self._parents.plan(self._exports.choice, self._runtime, self._state.set_message)
        self._state.message = ""
        parents = [plan.parent.disk.change_id if plan.parent else None for plan in plans]
        self._state.plan([DiskPlan(plan.disk.index, parent) for plan, parent in zip(plans, parents, strict=True)])
        return plans

    async def copy(self, vma: VMAClient, credentials: Credentials, plans: Sequence[LayerPlan]) -> Preflight:
        """Copy all disks, and return the VM as it was copied.

        At the return every disk is complete and its export is closed. Raises WorkerError.
        """
        self._warn_about_free_space(plans)
        self._lock.check()
        await self._exports.open(plans)
        await self._exports.wait_until_reachable()
        # Once more, as the last step before the start: proving the parents may have taken hours, and meanwhile disks
        # may have been added, removed or resized.
        self._state.stage, self._state.message = Stage.PREFLIGHT, "requesting the VM's disks from vCenter once more"
        found = await preflight(vma, credentials, self._task, self._state.set_message)
        self._supervisor = Supervisor(
            self._task, self._settings, self._state, vma, self._exports, self._lock, self._root
        )
        try:
            await self._supervisor.run(credentials, found)
        except WorkerError as error:
            self._note_refusal(error, plans)
            raise
        self._state.stage, self._state.message = Stage.VERIFYING, ""
        self._state.sample()
        await self._exports.close()
        # Every connection has ended by now, so the kernel's byte counts are final.
        self._state.sample()
        self._state.refuse_foreign_peers()
        return found

    def _note_refusal(self, error: WorkerError, plans: Sequence[LayerPlan]) -> None:
        """Mark a parent whose change ID vCenter refused or whose tracking was reset, so that no attempt uses it again.

        The disk is the one that the error names. The callbacks' current disk may be another one by now, because the
        disk's completion call may have arrived after the error was raised.
        """
        marks: dict[str, FullReason] = {
            Reason.INCREMENT_REFUSED: FullReason.CHANGE_ID_REFUSED,
            FullReason.CBT_RESET: FullReason.CBT_RESET,
        }
        mark = marks.get(error.reason)
        if mark is None:
            return
        parent = next((plan.parent for plan in plans if plan.disk.index == error.disk_index), None)
        if parent is not None and self._lock.is_ours():
            self._parents.mark(parent, mark, error.message)

    def _note_reset(self, error: WorkerError, plan: LayerPlan, arrival: Arrival) -> None:
        """Mark a parent whose change ID is from before a reset of tracking, so that the next attempt makes a full.

        With such a change ID the VMA copies the whole disk, and the attempt would fail the same way again.
        """
        if plan.parent is not None and arrival.copied_all is FullReason.CBT_RESET and self._lock.is_ours():
            self._parents.mark(plan.parent, FullReason.CBT_RESET, error.message)

    def _require_increment(self, plan: LayerPlan, arrival: Arrival) -> None:
        """Raise WorkerError if the VMA copied the whole disk instead of an increment and `onMissingParent` is Fail.

        An increment whose changes happen to cover the whole disk is accepted.
        """
        if self._task.on_missing_parent is MissingParent.FAIL and plan.parent is not None and arrival.copied_all:
            raise not_an_increment(plan.disk.index, arrival.copied_all)

    def _warn_about_free_space(self, plans: Sequence[LayerPlan]) -> None:
        """Log a warning if the fulls may not fit. The size of an increment is not known before it is copied."""
        space = capacity(self._root)
        worst = sum(worst_case_bytes(plan.disk.virtual_size) for plan in plans if plan.parent is None)
        if space.free - self._task.min_free < worst:
            log.warning(
                "the copy may fill the repository",
                most_bytes=worst,
                free_bytes=space.free,
                kept_free_bytes=self._task.min_free,
            )

    async def verify(self, found: Preflight, on_step: Callable[[str], None] = no_step) -> Manifest:
        """Verify every layer, compact increments, and return the manifest of the restore point.

        `on_step` receives each step of a compaction. Raises WorkerError.
        """
        disks = [await self._verify_disk(item, found, on_step) for item in self._exports.disks]
        appliance, finished = self._task.appliance, datetime.now(UTC)
        return Manifest(
            backup=ManifestBackup(name=self._task.backup, uid=self._task.backup_uid, namespace=self._task.namespace),
            vm=ManifestVM(
                name=self._task.vm,
                vmware_name=found.vm.name,
                vmware_path=appliance.vm_path,
                vmware_uuid=found.vm.id,
                vcenter_host=appliance.vcenter_host,
                datacenter=appliance.datacenter,
                hardware=reported_hardware(found.vm),
            ),
            repository_id=self._task.repository_id,
            job_id=self._state.job_id,
            attempt=self._settings.pod_uid,
            sequence=self._parents.sequence,
            started=self._state.started,
            finished=finished,
            retain_until=until_of_commit(self._task.immutability, self._state.elapsed, finished),
            tools={"qemu": await qemu_tools.version(), "python": platform.python_version()},
            disks=tuple(disks),
        )

    async def _verify_disk(self, item: DiskExport, found: Preflight, on_step: Callable[[str], None]) -> ManifestDisk:
        self._lock.check()
        appliance = self._task.appliance
        # A layer records written zeroes as it records data, so this holds for trusted WRITE_ZEROES, too.
        whole = appliance.full_coverage == "WholeDisk"
        index = item.disk.index
        # Every connection has ended by now, so the kernel's byte counts are final.
        self._state.sample()
        arrival = Arrival(self._state.received_bytes(index), whole, self._state.callbacks.copied_all(index))
        try:
            examined = await examine(self._root, item.file, item.plan, arrival)
            self._require_increment(item.plan, arrival)
        except WorkerError as error:
            self._note_reset(error, item.plan, arrival)
            raise
        parent = item.plan.parent
        if parent is not None and examined.type is BackupType.FULL:
            self._exports.rename_to_full(item)
            parent = None

        def step(name: str) -> None:
            on_step(name)
            self._lock.check()

        compaction = CompactionRun(self._task.compaction, self._task.min_free, step)
        sealed = await seal(
            self._root, item.file, index, examined, parent, self._exports.choice, self._runtime, compaction
        )
        return self._describe(item, examined, sealed, found)

    def _describe(self, item: DiskExport, examined: Examined, sealed: Sealed, found: Preflight) -> ManifestDisk:
        index, plan = item.disk.index, item.plan
        parent = plan.parent if examined.type is BackupType.INCREMENTAL else None
        reported = found.vm.disks[index]
        received_bytes = self._state.received_bytes(index)
        if received_bytes is None and sealed.compaction is CompactionResult.COMPACTED:
            received_bytes = examined.layer.coverage
        return ManifestDisk(
            index=index,
            key=item.disk.key,
            label=reported.label,
            vmdk_path=reported.vmdk_path,
            type=examined.type,
            reason=examined.reason or plan.reason or "",
            file=str(item.file),
            virtual_size=item.disk.virtual_size,
            stored_bytes=sealed.stored_bytes,
            guest_bytes=sealed.layer.guest_bytes,
            coverage=sealed.layer.coverage,
            received_bytes=received_bytes,
            changed_bytes=sealed.changed_bytes,
            compaction=sealed.compaction or "",
            change_id=self._state.callbacks.change_ids[index],
            parent=parent.describe() if parent else None,
            depth=len(parent.stack) + 1 if parent else 1,
            digest=sealed.digest,
        )

    async def commit(self, manifest: Manifest, on_step: Callable[[str], None]) -> str:
        """Commit, and return the path of the manifest below the root.

        A cancellation during the commit takes effect after it. `on_step` receives each step. Raises WorkerError.
        """
        self._state.stage = Stage.COMMITTING
        missing = missing_parent(self._root, manifest)
        if missing is not None:
            raise WorkerError(Reason.PARENT_GONE, f"{missing}, the parent of an increment, no longer exists")
        place = recovery.free_place(self._root, self._paths, self._task.backup, self._task.backup_uid)
        await run_to_end(asyncio.to_thread(commit, self._root, place, manifest, self._lock, on_step))
        log.info("committed", manifest=place)
        await run_to_end(asyncio.to_thread(self._free))
        self._state.stage = Stage.DONE
        return str(place)

    def _free(self) -> None:
        """Free the chain's unneeded layers while its lock is held. A maintenance Job repeats what fails here."""
        rule = ImmutabilityRule.of(self._task.immutability)
        try:
            freed = free_layers(self._root, read_chain(self._root, self._paths), self._lock.before, rule)
        except (OSError, WorkerError) as error:
            log.warning("layers that no restore point needs could not be freed", error=error)
            return
        if freed.files:
            log.info("freed layers of removed restore points", files=freed.files)

    async def abandon(self, error: BaseException | None = None) -> None:
        """Cancel the VMA's job (vma-contract 5.4), and remove everything of the attempt from the repository.

        `error`: why the attempt ends.
        """
        self._state.stage, self._state.message = Stage.CANCELLING, ""
        callbacks, clocks = self._state.callbacks, self._task.clocks
        has_client = self._supervisor is not None and self._supervisor.may_run
        # A foreign peer must be cut off at once, even if the VMA's client hangs because of it.
        foreign = isinstance(error, WorkerError) and error.reason == Reason.FOREIGN_PEER
        amid_increment = has_client and callbacks.copies_changes and not self._exports.gone() and self._lock.is_ours()
        callbacks.cancel()
        if amid_increment and not foreign:
            await client_release.let_increment_end(self._state, clocks.cancel_increment, self._must_stop)
        ended = client_release.has_ended(self._state)
        await self._exports.kill()
        if self._lock.is_ours():
            self._clean_up()
        if has_client:
            if not ended:
                await client_release.await_end(self._state, clocks.cancel)
            self._state.left = client_release.describe_remains(self._state, cut_off=amid_increment and not ended)
            log.info("what the attempt left on the appliance", message=self._state.left)

    def _must_stop(self) -> bool:
        """Return whether further writes of the client would do harm: the lock has another owner, or space is low.

        The client may use up half of the space that is to be kept free.
        """
        if not self._lock.is_ours():
            return True
        try:
            return capacity(self._root).free < self._task.min_free // 2
        except WorkerError:
            return True

    def _clean_up(self) -> None:
        try:
            recovery.finish_commits(self._root, self._paths, None, self._lock.before)
        except OSError as error:
            log.warning("an interrupted commit could not be cleaned up; the next attempt does it", error=error)
        except WorkerError as error:
            log.warning("the partials of the attempt are not removed", error=error)
            return
        self._exports.remove_partials()

    def close(self) -> None:
        """Remove the attempt's files outside the repository."""
        shutil.rmtree(self._runtime, ignore_errors=True)
