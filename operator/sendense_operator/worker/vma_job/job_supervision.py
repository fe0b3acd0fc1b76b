"""Start and supervision of the VMA's job, until every disk is complete or the job has failed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from sendense_operator.api.v1alpha1.names import last_path_element
from sendense_operator.chain.free_space import FILES_TO_COMMIT, lacks_files
from sendense_operator.chain.integrity import HANDSHAKES
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, MissingParent, Stage
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import StartUnknown, VMAError
from sendense_operator.vma.messages import VMAStartRequest
from sendense_operator.vma.stall_clocks import Failed, JobObservation, are_callbacks_missing, decide_clocks
from sendense_operator.vma.vma_client import VMAClient
from sendense_operator.worker.errors import Reason, WorkerError, not_an_increment
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.repository_marker import capacity
from sendense_operator.worker.vma_job.attempt_exports import ExportSet
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.preflight import Preflight, appliance_error

log = get_logger(__name__)


class Supervisor:
    """Supervision of one VMA job, from its start to the last completion call."""

    def __init__(
        self,
        task: BackupTask,
        settings: Settings,
        state: JobState,
        vma: VMAClient,
        exports: ExportSet,
        lock: ChainLock,
        root: Path,
    ) -> None:
        self._task, self._settings, self._state = task, settings, state
        self._vma, self._exports, self._lock, self._root = vma, exports, lock, root
        self._started_at: float | None = None
        self._first_sign: float | None = None
        self._unhealthy_since: float | None = None
        self._last_record: float | None = None

    @property
    def may_run(self) -> bool:
        """Whether the VMA may have a running client for this job."""
        return self._started_at is not None and not self._state.callbacks.done

    async def run(self, credentials: Credentials, found: Preflight) -> None:
        """Run the job until every disk is complete. Raises WorkerError."""
        self._lock.check()
        await self._check_free_space()
        self._state.reset_observations()
        self._state.stage = Stage.WAITING_FOR_VMA
        await self._start(credentials)
        poll = asyncio.create_task(self._poll())
        try:
            await self._watch(found.cbt_enabled)
        finally:
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)

    async def _start(self, credentials: Credentials) -> None:
        path = self._task.appliance.vm_path
        parents = [item.plan.parent for item in self._exports.disks]
        change_ids = [parent.disk.change_id for parent in parents if parent]
        try:
            request = VMAStartRequest(
                job_id=self._state.job_id,
                vm_name=last_path_element(path),
                vm_path=path,
                vcenter_host=self._task.appliance.vcenter_host,
                nbd_targets=self._exports.nbd_targets(),
                backup_type="incremental" if change_ids else "full",
                previous_change_id=change_ids[0] if change_ids else "",
            )
        except ValueError as error:
            raise WorkerError(Reason.BAD_TASK, f"the VMA's job can't be started: {error}") from error
        self._started_at = time.monotonic()
        try:
            await self._vma.start(request, credentials)
            log.info("the VMA accepted the job", job=self._state.job_id)
        except StartUnknown as error:
            # The call is not repeated: if it succeeded, two clients would write. Signs of life show whether it did.
            log.warning("the VMA may have accepted the job; waiting for signs of life", error=error)
        except VMAError as error:
            self._started_at = None
            raise appliance_error(error) from error

    async def _watch(self, cbt_enabled: bool) -> None:
        while not self._state.callbacks.done:
            # In a thread: callbacks must be answered even while the storage hangs.
            sizes = {} if self._state.knows_bytes else await asyncio.to_thread(self._exports.allocated)
            self._state.sample(sizes)
            current = self._state.callbacks.current_disk
            observation = self._observe(cbt_enabled)
            self._state.callbacks_missing = are_callbacks_missing(observation)
            verdict = decide_clocks(observation, self._task.clocks)
            if self._state.callbacks.done:
                return
            if isinstance(verdict, Failed):
                raise WorkerError(verdict.reason, verdict.message, current)
            self._state.refuse_foreign_peers()
            self._require_increment()
            self._state.message = f"waiting for {verdict.waiting_for}"
            if self._state.traffic.connections:
                self._state.stage = Stage.COPYING
            await self._check_free_space()
            # A worker that was assumed dead and resumes finds another owner, and must not continue to write.
            await asyncio.to_thread(self._lock.check)
            self._state.changed.clear()
            if not self._state.callbacks.done:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._state.changed.wait(), self._settings.sample)

    def _observe(self, cbt_enabled: bool) -> JobObservation:
        callbacks, traffic = self._state.callbacks, self._state.traffic
        current = callbacks.current_disk
        port = None if current is None else traffic.ports[self._state.port(current)]
        return JobObservation(
            now=time.monotonic(),
            started=self._started_at or 0.0,
            disks=len(self._task.disks),
            completes=len(callbacks.change_ids),
            cbt_enabled=cbt_enabled,
            first_sign=self._first_sign,
            first_request=callbacks.first_request,
            last_request=callbacks.last_request,
            last_complete=callbacks.last_complete,
            current_connections=port.connections if port else 0,
            current_first_connected=port.first_connected if port else None,
            current_last_connected=self._state.current_last_connected(),
            current_copies_changes=callbacks.copies_changes,
            current_may_have_data=current is None or not self._is_untouched(current),
            connections=traffic.connections,
            last_record=self._last_record,
            last_telemetry=callbacks.last_telemetry,
            last_bytes=traffic.last_bytes,
            unhealthy_since=self._unhealthy_since,
            current_address="" if current is None else self._exports.offered(current),
            exports_gone=self._exports.gone(),
        )

    def _require_increment(self) -> None:
        """Raise WorkerError as soon as the VMA turns out to copy a whole disk although `onMissingParent` is Fail.

        The client of an increment sends all of its change-ID requests before it writes, so the first bytes decide,
        hours before the copy would end.
        """
        current = self._state.callbacks.current_disk
        if self._task.on_missing_parent is not MissingParent.FAIL or current is None:
            return
        received_bytes = self._state.received_bytes(current)
        why = self._state.callbacks.copied_all(current)
        if why is not None and received_bytes is not None and received_bytes >= HANDSHAKES:
            raise not_an_increment(current, why)

    def _is_untouched(self, index: int) -> bool:
        """Return whether certainly nothing was written to a disk; False if the kernel does not count bytes."""
        received_bytes = self._state.received_bytes(index)
        return received_bytes is not None and received_bytes < HANDSHAKES

    async def _check_free_space(self) -> None:
        space = await asyncio.to_thread(capacity, self._root)
        if space.free <= self._task.min_free:
            raise WorkerError(
                Reason.REPOSITORY_FULL,
                f"only {space.free} of {space.total} bytes are free, and spec.minFreeBytes of the repository is "
                f"{self._task.min_free}",
            )
        if problem := lacks_files(space, FILES_TO_COMMIT):
            raise WorkerError(Reason.REPOSITORY_FULL, problem)

    async def _poll(self) -> None:
        """Poll the VMA's progress record. It only shows that the client has started and that the VMA answers."""
        pause = min(1.0, self._settings.poll)
        while True:
            await asyncio.sleep(pause)
            try:
                record = await self._vma.progress(self._state.job_id)
                if record is not None and self._first_sign is None:
                    self._first_sign = time.monotonic()
                if record is not None:
                    self._last_record = time.monotonic()
                    pause = self._settings.poll
                self._unhealthy_since = None
            except VMAError as error:
                await self._check_health(error)

    async def _check_health(self, error: VMAError) -> None:
        checked = time.monotonic()
        try:
            await self._vma.health()
            self._unhealthy_since = None
        except VMAError:
            if self._unhealthy_since is None:
                log.warning("the VMA does not answer", error=error)
                self._unhealthy_since = checked
