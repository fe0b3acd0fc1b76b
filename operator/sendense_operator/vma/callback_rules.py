"""The rules of the VMA's callbacks, as the state of ONE job. No I/O; times are given by the caller.

The VMA copies the disks one after the other in device order, so the disk whose turn it is is the first one
without a `complete`. What it asks in between tells how it copied (vma-contract): no request, or one: a full copy;
two: full, because the change ids belong to different disks; three: incremental.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sendense_operator.task import FullReason

CALL_ID_HEADER: Final = "X-Sendense-Call"
"""Set by the gateway, new for each call of the VMA and the same when the gateway sends it again."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a callback's body."""

_Body = TypeVar("_Body", bound=BaseModel)
_CHANGE_ID: Final = r"^[ -~]{0,200}$"
_INCREMENTAL_ASKS: Final = 3
_DIFFERENT_DISK_ASKS: Final = 2


class CallbackRefused(Exception):  # noqa: N818 - says what happened
    """A callback that is answered `status` (4xx); the text names the field and quotes no input."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class CompleteBody(BaseModel):
    """Body of a `complete` call."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    change_id: Annotated[str, Field(pattern=_CHANGE_ID)]
    """Printable ASCII, `X/Y` as a rule: X (a UUID with blanks) belongs to the disk, Y counts.

    Anything else is kept too: it only can't be the start of an increment, which is no reason to lose this backup.
    """
    disk_id: Annotated[int, Field(ge=0, le=9999)]
    """N of the export's name."""
    bytes_transferred: Annotated[int, Field(ge=0)] = 0
    """Always 0 in the field: not used."""


class TelemetryBody(BaseModel):
    """Body of a telemetry call: an object, of which nothing is used."""

    model_config = ConfigDict(extra="ignore")


def parse_complete(body: bytes) -> CompleteBody:
    """Raise CallbackRefused (413, 400) for what is no `complete`."""
    return _parse(CompleteBody, body)


def check_telemetry(body: bytes) -> None:
    """Raise CallbackRefused (413, 400) for what is no JSON object."""
    _parse(TelemetryBody, body)


def parse_disk_id(disk_id: str) -> int:
    """Return the disk index of a request. Raise CallbackRefused (400) if it is none."""
    if not (disk_id.isascii() and disk_id.isdigit() and len(disk_id) <= 4):
        raise CallbackRefused(400, "disk_id: not a disk index")
    return int(disk_id)


def _parse(model: type[_Body], body: bytes) -> _Body:
    if len(body) > MAX_BODY:
        raise CallbackRefused(413, f"body: larger than {MAX_BODY} bytes")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise CallbackRefused(400, f"{where}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: `body` is sent as JSON."""

    status: int
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What a disk's requests are answered with."""

    index: int
    """N of the export's name."""
    parent_change_id: str | None = None
    """None: this disk is to be copied in full."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a build of the VMA does with its callbacks; the defaults are those of the field."""

    names_disks: bool = False
    """It asks for disk N with N, not always with 0."""
    repeats: bool = False
    """It makes a callback again until it is answered with 200."""


def why_copied_all(plan: DiskPlan, asks: int, completed: str | None = None) -> FullReason | None:
    """Return why a disk that was planned as an increment was copied in full; None: it is an increment.

    `completed`: change ID of its completion call, None before that. Its UUID part must be the parent's, always: the
    number of change-ID requests alone proves nothing, since a repeated or foreign one counts like the client's own.
    """
    if plan.parent_change_id is None:
        return None
    if completed is not None and _disk_part(completed) != _disk_part(plan.parent_change_id):
        return FullReason.CBT_RESET
    if asks >= _INCREMENTAL_ASKS:
        return None
    # One request or none: the calls, or their answers, got lost. Two, while no completion call says more: the UUIDs
    # differ. Two and equal UUIDs: the answer to the third got lost.
    differ = completed is None and asks == _DIFFERENT_DISK_ASKS
    return FullReason.CBT_RESET if differ else FullReason.APPLIANCE_COPIED_ALL


def _disk_part(change_id: str) -> str:
    return change_id.partition("/")[0]


@dataclass(slots=True)
class _Disk:
    plan: DiskPlan
    asks: int = 0
    change_id: str | None = None


@dataclass(slots=True)
class _Times:
    first_ask: float | None = None
    turn_ask: float | None = None
    last_complete: float | None = None
    last_telemetry: float | None = None


@dataclass(slots=True)
class _LastAsk:
    call_id: str = ""
    reply: Reply = field(default_factory=lambda: Reply(404, {}))


class JobCallbacks:
    """Callbacks of one job."""

    def __init__(self, job_id: str, vm_name: str, disks: Sequence[DiskPlan], habits: Habits | None = None) -> None:
        """`vm_name`: last element of the inventory path. `disks`: in device order, at least one."""
        if not disks or len({disk.index for disk in disks}) != len(disks):
            raise ValueError("callbacks: no disks, or two with the same index")
        self._job_id = job_id
        self._vm_name = vm_name
        self._habits = habits or Habits()
        self._disks = {plan.index: _Disk(plan) for plan in disks}
        self._times = _Times()
        self._last_ask = _LastAsk()
        self._cancelled = False
        self._told_gone = False
        self._refused = 0

    def ask(self, vm_name: str, disk_id: str, now: float, call_id: str = "") -> Reply:
        """GET /api/v1/backups/changeid; `now` is monotonic seconds.

        A request that the gateway sends again (same `call_id`) is answered as before and not counted: how often the
        VMA asked decides what its copy is taken for.
        """
        if call_id and call_id == self._last_ask.call_id:
            return self._last_ask.reply
        try:
            reply = self._ask(vm_name, parse_disk_id(disk_id), now)
        except CallbackRefused as refusal:
            return self._refuse(refusal)
        self._last_ask = _LastAsk(call_id, reply)
        return reply

    def complete(self, job_id: str, body: bytes, now: float, connected: float | None) -> Reply:
        """POST /api/v1/backups/JOB/complete. 200 is the promise that the disk's change id is kept.

        `connected`: when the export of the disk whose turn it is last had a connection (monotonic seconds), None for
        never. The client keeps its connections until after this call, so without one in this turn nobody copied.
        """
        try:
            self._check_job(job_id)
            if self._cancelled:
                self._told_gone = True
                return self._gone()
            return self._complete(parse_complete(body), now, connected)
        except CallbackRefused as refusal:
            return self._refuse(refusal)

    def telemetry(self, job_id: str, body: bytes, now: float) -> Reply:
        """POST /api/v1/telemetry/backup/JOB: its numbers can't be relied on, so only its coming is kept."""
        try:
            self._check_job(job_id)
            check_telemetry(body)
        except CallbackRefused as refusal:
            return self._refuse(refusal)
        self._times.last_telemetry = now
        return Reply(200, {"status": "ok"})

    def cancel(self) -> None:
        """From now on every change-ID request and completion call is answered 410."""
        self._cancelled = True
        self._last_ask = _LastAsk()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def told_gone(self) -> bool:
        """Whether a completion call was answered 410 since: the client ends by itself then."""
        return self._told_gone

    @property
    def turn(self) -> int | None:
        """Index of the disk being copied, None when all are complete."""
        return next((index for index, disk in self._disks.items() if disk.change_id is None), None)

    @property
    def done(self) -> bool:
        """Whether every disk is complete."""
        return self.turn is None

    @property
    def change_ids(self) -> Mapping[int, str]:
        """Change id of each completed disk, by index. Provisional until `done`."""
        known = {index: disk.change_id for index, disk in self._disks.items() if disk.change_id is not None}
        return MappingProxyType(known)

    @property
    def first_ask(self) -> float | None:
        """When the first request of the job came."""
        return self._times.first_ask

    @property
    def turn_ask(self) -> float | None:
        """When the last request since the last `complete` came."""
        return self._times.turn_ask

    @property
    def last_complete(self) -> float | None:
        """When the last disk was completed."""
        return self._times.last_complete

    @property
    def last_telemetry(self) -> float | None:
        """When telemetry last came: the client's process exists, which is no sign that it works."""
        return self._times.last_telemetry

    @property
    def refused(self) -> int:
        """How many callbacks were refused so far (4xx other than 410)."""
        return self._refused

    def asks(self, index: int) -> int:
        """Return how often was asked while it was this disk's turn."""
        return self._disks[index].asks

    def copied_all(self, index: int) -> FullReason | None:
        """Return why a disk that was planned as an increment was copied whole; settled once it is complete."""
        disk = self._disks[index]
        return why_copied_all(disk.plan, disk.asks, disk.change_id)

    @property
    def copies_changes(self) -> bool:
        """Whether the VMA has asked for the changes of the disk whose turn it is: it is amid an increment."""
        disk = None if self.turn is None else self._disks[self.turn]
        return disk is not None and disk.plan.parent_change_id is not None and disk.asks >= _INCREMENTAL_ASKS

    def _ask(self, vm_name: str, disk_index: int, now: float) -> Reply:
        if vm_name != self._vm_name:
            raise CallbackRefused(404, "vm_name: not the VM of this job")
        if self._cancelled:
            return self._gone()
        turn = self.turn
        # 0 stands for whichever disk's turn it is, unless each request names its disk; what is meant by N > 0 is disk N
        asked = turn if disk_index == 0 and not self._habits.names_disks else disk_index
        if asked is not None and asked not in self._disks:
            raise CallbackRefused(404, "disk_id: no such disk in this job")
        if asked is not None and asked == turn:
            self._disks[asked].asks += 1
            self._times.turn_ask = now
            self._times.first_ask = now if self._times.first_ask is None else self._times.first_ask
        parent = None if asked is None else self._disks[asked].plan.parent_change_id
        return Reply(
            200,
            {
                "vm_name": vm_name,
                "disk_id": str(disk_index),
                "change_id": parent or "",
                # Not the job's ID: whoever reaches the port could complete the job's disks with it.
                "backup_job_id": "",
                "message": "incremental" if parent else "full",
            },
        )

    def in_turn(self, moment: float | None) -> float | None:
        """Return the moment, if it is after the last completion call, so that it belongs to the present turn."""
        last = self._times.last_complete
        return None if moment is None or (last is not None and moment <= last) else moment

    def _complete(self, body: CompleteBody, now: float, connected: float | None) -> Reply:
        disk = self._disks.get(body.disk_id)
        if disk is None:
            raise CallbackRefused(409, "disk_id: no such disk in this job")
        if disk.change_id is None and body.disk_id != self.turn:
            raise CallbackRefused(409, f"disk_id: it is disk {self.turn}'s turn")
        if disk.change_id is not None and disk.change_id != body.change_id:
            raise CallbackRefused(409, "change_id: the disk was completed with another one")
        if disk.change_id is None and self.in_turn(connected) is None:
            raise CallbackRefused(409, f"disk {body.disk_id}: its export had no connection in this turn")
        if disk.change_id is None:
            disk.change_id = body.change_id
            self._times.last_complete = now
            self._times.turn_ask = None
        return Reply(200, {"status": "completed", "backup_job_id": "", "disk_id": str(body.disk_id)})

    def _check_job(self, job_id: str) -> None:
        if job_id != self._job_id:
            raise CallbackRefused(404, "job_id: no such job")

    def _gone(self) -> Reply:
        return Reply(410, {"error": "the backup was cancelled"})

    def _refuse(self, refusal: CallbackRefused) -> Reply:
        self._refused += 1
        return Reply(refusal.status, {"error": str(refusal)})
