"""One attempt at copying a VM: exports, the VMA's job, proof, commit, or nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sendense_operator.chain.extents import worst_case_bytes
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest, ManifestBackup, ManifestDisk, ManifestVM
from sendense_operator.task import BackupTask, BackupType, Stage
from sendense_operator.vma.client import VMAClient
from sendense_operator.vma.clocks import is_stuck
from sendense_operator.vma.credentials import Credentials
from sendense_operator.worker import qemu, recovery
from sendense_operator.worker.commit import commit
from sendense_operator.worker.exports import DiskExport, ExportSet
from sendense_operator.worker.lock import ChainLock
from sendense_operator.worker.preflight import Preflight
from sendense_operator.worker.repository import capacity
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.state import JobState
from sendense_operator.worker.supervise import Supervisor
from sendense_operator.worker.verify import Verified, verify

log = logging.getLogger(__name__)

_CANCEL_LIMIT = 20.0
"""Seconds: a pod that is being deleted has little more."""
_T = TypeVar("_T")


class Attempt:
    """Use as: `copy`, `verify`, `commit`; `abandon` after any failure of these; `close` in the end."""

    def __init__(
        self,
        settings: Settings,
        task: BackupTask,
        state: JobState,
        root: Path,
        paths: ChainPaths,
        lock: ChainLock,
    ) -> None:
        self._settings, self._task, self._state = settings, task, state
        self._root, self._paths, self._lock = root, paths, lock
        self._runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
        self._exports = ExportSet(task, settings, root, paths, self._runtime)
        self._supervisor: Supervisor | None = None

    async def copy(self, vma: VMAClient, credentials: Credentials, found: Preflight) -> None:
        """Until every disk was reported complete and its export is closed. Raises WorkerError."""
        self._warn_about_room()
        self._lock.check()
        await self._exports.open()
        await self._exports.wait_until_reachable()
        self._supervisor = Supervisor(
            self._task, self._settings, self._state, vma, self._exports, self._lock, self._root
        )
        await self._supervisor.run(credentials, found)
        self._state.stage, self._state.message = Stage.VERIFYING, ""
        self._state.look()
        await self._exports.close()

    def _warn_about_room(self) -> None:
        room = capacity(self._root)
        worst = sum(worst_case_bytes(disk.size) for disk in self._task.disks)
        if room.free - self._task.min_free < worst:
            log.warning(
                "the disks may need up to %d bytes, %d are free and %d are kept: the copy may run out of room",
                worst,
                room.free,
                self._task.min_free,
            )

    async def verify(self, found: Preflight) -> Manifest:
        """Prove every layer and describe the restore point. Raises WorkerError."""
        verified = [await self._verify_one(item) for item in self._exports.disks]
        appliance = self._task.appliance
        return Manifest(
            backup=ManifestBackup(name=self._task.backup, uid=self._task.backup_uid, namespace=self._task.namespace),
            vm=ManifestVM(
                name=self._task.vm,
                vmware_name=found.vm.name,
                vmware_path=appliance.vm_path,
                vmware_uuid=found.vm.id,
                vcenter_host=appliance.vcenter_host,
                datacenter=appliance.datacenter,
            ),
            repository_id=self._task.repository_id,
            job_id=self._state.job_id,
            attempt=self._settings.pod_uid,
            started=self._state.started,
            finished=datetime.now(UTC),
            tools={"qemu": await qemu.version(), "python": platform.python_version()},
            disks=tuple(
                self._describe(item, proof, found) for item, proof in zip(self._exports.disks, verified, strict=True)
            ),
        )

    async def _verify_one(self, item: DiskExport) -> Verified:
        self._lock.check()
        appliance = self._task.appliance
        whole = appliance.zero_writes == "Refuse" and appliance.full_coverage == "WholeDisk"
        index = item.disk.index
        # Every connection has ended by now, and the kernel has told its last numbers.
        self._state.look()
        evidence = (index, self._state.received(index), whole)
        return await verify(self._root, item.file, item.disk.size, evidence, self._exports.choice, self._runtime)

    def _describe(self, item: DiskExport, proof: Verified, found: Preflight) -> ManifestDisk:
        index = item.disk.index
        seen = found.vm.disks[index]
        return ManifestDisk(
            index=index,
            key=item.disk.key,
            label=seen.label,
            vmdk_path=seen.vmdk_path,
            type=BackupType.FULL,
            file=str(item.file),
            virtual_size=item.disk.size,
            stored=proof.stored,
            guest_bytes=proof.layer.guest_bytes,
            coverage=proof.layer.coverage,
            received=self._state.received(index),
            change_id=self._state.callbacks.change_ids[index],
            digest=proof.digest,
        )

    async def commit(self, manifest: Manifest, on_step: Callable[[str], None]) -> str:
        """Path of the manifest below the root. Once begun it is not cancelled. Raises WorkerError."""
        self._state.stage = Stage.COMMITTING
        place = recovery.free_place(self._root, self._paths, self._task.backup, self._task.backup_uid)
        await _to_the_end(asyncio.to_thread(commit, self._root, place, manifest, self._lock, on_step))
        self._state.stage = Stage.DONE
        log.info("committed %s", place)
        return str(place)

    async def abandon(self) -> None:
        """Cancel the VMA's job as the contract says, and leave nothing behind.

        A client of a full ends by itself when its export is gone, so it is given time for that: its next job
        must not start while it is there. One that goes on telling of itself after that hangs for ever.
        """
        self._state.stage, self._state.message = Stage.CANCELLING, ""
        self._state.callbacks.cancel()
        await self._exports.kill()
        if self._lock.is_ours():
            self._clean_up()
        if self._supervisor is not None and self._supervisor.may_run:
            wait = min(self._task.clocks.cancel, _CANCEL_LIMIT)
            log.info("giving the VMA's client %.0f s to notice", wait)
            closed = time.monotonic()
            await asyncio.sleep(wait)
            self._state.stuck_client = is_stuck(closed, wait, self._state.callbacks.last_telemetry)
            if self._state.stuck_client:
                log.warning("the VMA's client of job %s hangs: restart the appliance's service", self._state.job_id)

    def _clean_up(self) -> None:
        try:
            recovery.finish_commits(self._root, self._paths, None)
        except OSError as error:
            log.warning("a commit that was cut short stays until the next sweep: %s", error)
        self._exports.remove_partials()

    def close(self) -> None:
        """Remove what lay outside the repository."""
        shutil.rmtree(self._runtime, ignore_errors=True)


async def _to_the_end(work: Coroutine[Any, Any, _T]) -> _T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        log.info("terminated during the commit, which is brought to its end")
        return await task
