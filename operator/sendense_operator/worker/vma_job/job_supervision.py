"""Starts the VMA's job, once, and watches until every disk is complete or the job is dead."""

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
    """One VMA job, from its start to the last `complete`."""

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
        """Whether the VMA may have a client at work for us."""
        return self._started_at is not None and not self._state.callbacks.done

    async def run(self, credentials: Credentials, found: Preflight) -> None:
        """Raise WorkerError unless every disk was reported complete."""
        self._lock.check()
        await self._check_room()
        self._state.forget_callers()
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
            raise WorkerError(Reason.BAD_TASK, f"the start call can't be made: {error}") from error
        self._started_at = time.monotonic()
        try:
            await self._vma.start(request, credentials)
            log.info("the VMA accepted the job", job=self._state.job_id)
        except StartUnknown as error:
            # Never again: two clients would write under one record. Its signs of life decide.
            log.warning("waiting for signs of life", error=error)
        except VMAError as error:
            self._started_at = None
            raise appliance_error(error) from error

    async def _watch(self, cbt_enabled: bool) -> None:
        while not self._state.callbacks.done:
            # In a thread: storage that hangs must not silence the callbacks.
            sizes = {} if self._state.knows_bytes else await asyncio.to_thread(self._exports.allocated)
            self._state.look(sizes)
            turn = self._state.callbacks.turn
            seen = self._observe(cbt_enabled)
            self._state.callbacks_missing = are_callbacks_missing(seen)
            verdict = decide_clocks(seen, self._task.clocks)
            if self._state.callbacks.done:
                return
            if isinstance(verdict, Failed):
                raise WorkerError(verdict.reason, verdict.message, turn)
            self._state.refuse_foreign_peers()
            self._require_increment()
            self._state.message = f"waiting for {verdict.waiting_for}"
            if self._state.traffic.connections:
                self._state.stage = Stage.COPYING
            await self._check_room()
            # One that was thought dead and comes back finds another owner, and must not go on writing.
            await asyncio.to_thread(self._lock.check)
            self._state.changed.clear()
            if not self._state.callbacks.done:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._state.changed.wait(), self._settings.sample)

    def _observe(self, cbt_enabled: bool) -> JobObservation:
        callbacks, traffic = self._state.callbacks, self._state.traffic
        turn = callbacks.turn
        port = None if turn is None else traffic.ports[self._state.port(turn)]
        return JobObservation(
            now=time.monotonic(),
            started=self._started_at or 0.0,
            disks=len(self._task.disks),
            completes=len(callbacks.change_ids),
            cbt_enabled=cbt_enabled,
            first_sign=self._first_sign,
            first_ask=callbacks.first_ask,
            turn_ask=callbacks.turn_ask,
            last_complete=callbacks.last_complete,
            turn_connections=port.connections if port else 0,
            turn_connected=port.first_connected if port else None,
            turn_last_connected=self._state.turn_connected(),
            turn_copies_changes=callbacks.copies_changes,
            turn_wrote=turn is None or not self._is_untouched(turn),
            connections=traffic.connections,
            last_record=self._last_record,
            last_telemetry=callbacks.last_telemetry,
            last_bytes=traffic.last_bytes,
            unhealthy_since=self._unhealthy_since,
            turn_offered="" if turn is None else self._exports.offered(turn),
            exports_gone=self._exports.gone(),
        )

    def _require_increment(self) -> None:
        """Raise WorkerError as soon as a whole copy shows where `onMissingParent` is Fail: hours before its end.

        An increment makes all of its requests before it writes.
        """
        turn = self._state.callbacks.turn
        if self._task.on_missing_parent is not MissingParent.FAIL or turn is None:
            return
        received_bytes = self._state.received_bytes(turn)
        why = self._state.callbacks.copied_all(turn)
        if why is not None and received_bytes is not None and received_bytes >= HANDSHAKES:
            raise not_an_increment(turn, why)

    def _is_untouched(self, index: int) -> bool:
        """Return whether nothing of a disk can have been written: known only where the kernel tells bytes."""
        received_bytes = self._state.received_bytes(index)
        return received_bytes is not None and received_bytes < HANDSHAKES

    async def _check_room(self) -> None:
        room = await asyncio.to_thread(capacity, self._root)
        if room.free <= self._task.min_free:
            raise WorkerError(
                Reason.REPOSITORY_FULL,
                f"{room.free} of {room.total} bytes are free, the repository keeps {self._task.min_free} free",
            )
        if words := lacks_files(room, FILES_TO_COMMIT):
            raise WorkerError(Reason.REPOSITORY_FULL, words)

    async def _poll(self) -> None:
        """Use the VMA's own report only to see that its client has started and that it answers at all."""
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
                await self._ask_health(error)

    async def _ask_health(self, error: VMAError) -> None:
        asked = time.monotonic()
        try:
            await self._vma.health()
            self._unhealthy_since = None
        except VMAError:
            if self._unhealthy_since is None:
                log.warning("the VMA does not answer", error=error)
                self._unhealthy_since = asked
