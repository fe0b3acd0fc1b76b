"""The rules of the VMA's callbacks, as the state of one job. No I/O; the caller passes the times.

The VMA copies the disks one after the other in device order, so the current disk is the first one without a completion
call. The number of change-ID requests before that call shows how it was copied (vma-contract 3.5): none or one, a full;
two, a full because the change IDs have different UUIDs; three, an increment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sendense_operator.task import FullReason
from sendense_operator.vma.callback_bodies import (
    CallbackRefused,
    CompleteBody,
    check_telemetry,
    parse_complete,
    parse_disk_id,
)

CALL_ID_HEADER: Final = "X-Sendense-Call"
"""Header that the gateway sets: unique per call of the VMA, and unchanged when the gateway repeats the call."""

_INCREMENTAL_REQUESTS: Final = 3
_UUID_MISMATCH_REQUESTS: Final = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response; `body` is sent as JSON."""

    status: int
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """How the change-ID requests for one disk are answered."""

    index: int
    """Disk index, the N of the export's name."""
    parent_change_id: str | None = None
    """Change ID of the parent; None if the disk is to be copied in full."""


@dataclass(frozen=True, slots=True)
class CallbackTraits:
    """How a build of the VMA makes its callbacks; the defaults describe the builds in the field."""

    names_disks: bool = False
    """Its change-ID requests name the disk that they are for, instead of always disk 0."""
    repeats: bool = False
    """It repeats a callback until the answer is 200."""


def why_copied_all(plan: DiskPlan, requests: int, completed: str | None = None) -> FullReason | None:
    """Return why a disk that was planned as an increment was copied in full; None if it was not.

    `completed`: change ID of its completion call, None before that. Its UUID must be the parent's in every case: the
    number of change-ID requests alone proves nothing, because repeated and foreign requests are counted too.
    """
    if plan.parent_change_id is None:
        return None
    if completed is not None and _uuid_of(completed) != _uuid_of(plan.parent_change_id):
        return FullReason.CBT_RESET
    if requests >= _INCREMENTAL_REQUESTS:
        return None
    # At most one request: requests or their answers were lost. Two requests before the completion call: the UUIDs
    # differ. Two requests and equal UUIDs: the third request or its answer was lost.
    differ = completed is None and requests == _UUID_MISMATCH_REQUESTS
    return FullReason.CBT_RESET if differ else FullReason.APPLIANCE_COPIED_ALL


def _uuid_of(change_id: str) -> str:
    return change_id.partition("/")[0]


@dataclass(slots=True)
class _Disk:
    plan: DiskPlan
    requests: int = 0
    change_id: str | None = None


@dataclass(slots=True)
class _Times:
    first_request: float | None = None
    last_request: float | None = None
    last_complete: float | None = None
    last_telemetry: float | None = None


@dataclass(slots=True)
class _LastReply:
    call_id: str = ""
    reply: Reply = field(default_factory=lambda: Reply(404, {}))


class JobCallbacks:
    """State of one job, as its callbacks determine it, and the answers to them."""

    def __init__(
        self, job_id: str, vm_name: str, disks: Sequence[DiskPlan], traits: CallbackTraits | None = None
    ) -> None:
        """`vm_name`: last element of the inventory path. `disks`: in device order, at least one."""
        if not disks or len({disk.index for disk in disks}) != len(disks):
            raise ValueError("callbacks: no disks, or two disks with the same index")
        self._job_id = job_id
        self._vm_name = vm_name
        self._traits = traits or CallbackTraits()
        self._disks = {plan.index: _Disk(plan) for plan in disks}
        self._times = _Times()
        self._last_reply = _LastReply()
        self._cancelled = False
        self._client_released = False
        self._refused = 0

    def answer_change_id(self, vm_name: str, disk_id: str, now: float, call_id: str = "") -> Reply:
        """Answer GET /api/v1/backups/changeid; `now` is monotonic seconds.

        A request that the gateway repeats (same `call_id`) gets the same answer and is not counted, because the number
        of requests shows whether the copy is an increment.
        """
        if call_id and call_id == self._last_reply.call_id:
            return self._last_reply.reply
        try:
            reply = self._answer_change_id(vm_name, parse_disk_id(disk_id), now)
        except CallbackRefused as refusal:
            return self._refuse(refusal)
        self._last_reply = _LastReply(call_id, reply)
        return reply

    def complete(self, job_id: str, body: bytes, now: float, connected: float | None) -> Reply:
        """Answer POST /api/v1/backups/JOB/complete. After 200 the change ID of the disk is stored.

        `connected`: when the current disk's export last had a connection (monotonic seconds), None for never. The
        client keeps its connections until after this call: without one since the previous disk, nothing was copied.
        """
        try:
            self._check_job(job_id)
            if self._cancelled:
                self._client_released = True
                return self._gone()
            return self._complete(parse_complete(body), now, connected)
        except CallbackRefused as refusal:
            return self._refuse(refusal)

    def telemetry(self, job_id: str, body: bytes, now: float) -> Reply:
        """Answer POST /api/v1/telemetry/backup/JOB. Its numbers are not reliable, so only its time is stored."""
        try:
            self._check_job(job_id)
            check_telemetry(body)
        except CallbackRefused as refusal:
            return self._refuse(refusal)
        self._times.last_telemetry = now
        return Reply(200, {"status": "ok"})

    def cancel(self) -> None:
        """Answer every change-ID request and completion call with 410 from now on."""
        self._cancelled = True
        self._last_reply = _LastReply()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def client_released(self) -> bool:
        """Whether a completion call was answered 410 after `cancel`, so that the client ends by itself."""
        return self._client_released

    @property
    def current_disk(self) -> int | None:
        """Index of the disk that is being copied, the first incomplete one; None when all are complete."""
        return next((index for index, disk in self._disks.items() if disk.change_id is None), None)

    @property
    def done(self) -> bool:
        """Whether every disk is complete."""
        return self.current_disk is None

    @property
    def change_ids(self) -> Mapping[int, str]:
        """Change ID of each complete disk, by disk index. Provisional until `done`."""
        known = {index: disk.change_id for index, disk in self._disks.items() if disk.change_id is not None}
        return MappingProxyType(known)

    @property
    def first_request(self) -> float | None:
        """When the job's first change-ID request arrived (monotonic seconds); None if none did."""
        return self._times.first_request

    @property
    def last_request(self) -> float | None:
        """When the current disk's last change-ID request arrived (monotonic seconds); None if none did."""
        return self._times.last_request

    @property
    def last_complete(self) -> float | None:
        """When the last completion call was accepted (monotonic seconds); None if none was."""
        return self._times.last_complete

    @property
    def last_telemetry(self) -> float | None:
        """When telemetry last arrived (monotonic seconds). It proves that the client exists, not that it works."""
        return self._times.last_telemetry

    @property
    def refused(self) -> int:
        """Number of callbacks that were refused (4xx other than 410)."""
        return self._refused

    def requests(self, index: int) -> int:
        """Return the number of change-ID requests that arrived while this disk was the current one."""
        return self._disks[index].requests

    def copied_all(self, index: int) -> FullReason | None:
        """Return why a disk that was planned as an increment was copied in full; final once the disk is complete."""
        disk = self._disks[index]
        return why_copied_all(disk.plan, disk.requests, disk.change_id)

    @property
    def copies_changes(self) -> bool:
        """Whether the VMA has requested the changes of the current disk: it is copying an increment."""
        disk = None if self.current_disk is None else self._disks[self.current_disk]
        return disk is not None and disk.plan.parent_change_id is not None and disk.requests >= _INCREMENTAL_REQUESTS

    def _answer_change_id(self, vm_name: str, disk_index: int, now: float) -> Reply:
        if vm_name != self._vm_name:
            raise CallbackRefused(404, "vm_name: not the VM of this job")
        if self._cancelled:
            return self._gone()
        current = self.current_disk
        # 0 stands for the current disk, unless each request names its own disk (vma-contract 3.1, 3.4).
        wanted = current if disk_index == 0 and not self._traits.names_disks else disk_index
        if wanted is not None and wanted not in self._disks:
            raise CallbackRefused(404, "disk_id: no such disk in this job")
        if wanted is not None and wanted == current:
            self._disks[wanted].requests += 1
            self._times.last_request = now
            self._times.first_request = now if self._times.first_request is None else self._times.first_request
        parent = None if wanted is None else self._disks[wanted].plan.parent_change_id
        return Reply(
            200,
            {
                "vm_name": vm_name,
                "disk_id": str(disk_index),
                "change_id": parent or "",
                # Without the job ID: anybody who reaches the port could complete the job's disks with it.
                "backup_job_id": "",
                "message": "incremental" if parent else "full",
            },
        )

    def since_completion(self, moment: float | None) -> float | None:
        """Return `moment` if it is after the last completion call and so belongs to the current disk, else None."""
        last = self._times.last_complete
        return None if moment is None or (last is not None and moment <= last) else moment

    def _complete(self, body: CompleteBody, now: float, connected: float | None) -> Reply:
        disk = self._disks.get(body.disk_id)
        if disk is None:
            raise CallbackRefused(409, "disk_id: no such disk in this job")
        if disk.change_id is None and body.disk_id != self.current_disk:
            raise CallbackRefused(409, f"disk_id: disk {self.current_disk} is not complete yet and comes first")
        if disk.change_id is not None and disk.change_id != body.change_id:
            raise CallbackRefused(409, "change_id: the disk was completed with another change ID")
        if disk.change_id is None and self.since_completion(connected) is None:
            raise CallbackRefused(
                409, f"disk {body.disk_id}: nothing was connected to its export, so it was not copied"
            )
        if disk.change_id is None:
            disk.change_id = body.change_id
            self._times.last_complete = now
            self._times.last_request = None
        return Reply(200, {"status": "completed", "backup_job_id": "", "disk_id": str(body.disk_id)})

    def _check_job(self, job_id: str) -> None:
        if job_id != self._job_id:
            raise CallbackRefused(404, "job_id: no such job")

    def _gone(self) -> Reply:
        return Reply(410, {"error": "the backup was cancelled"})

    def _refuse(self, refusal: CallbackRefused) -> Reply:
        self._refused += 1
        return Reply(refusal.status, {"error": str(refusal)})
