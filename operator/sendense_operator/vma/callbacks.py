"""The rules of the VMA's callbacks, as the state of ONE job. No I/O; times are given by the caller.

The VMA copies the disks one after the other in device order, so the disk whose turn it is is the first one
without a `complete`. What it asks in between tells how it copied (vma-contract): no ask, or one: a full copy;
two: full, because the change ids belong to different disks; three: incremental.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sendense_operator.task import BackupType

CALL_ID_HEADER: Final = "X-Sendense-Call"
"""Set by the gateway, new for each call of the VMA and the same when the gateway sends it again."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a callback's body."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: `body` is sent as JSON."""

    status: int
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What a disk's asks are answered with."""

    index: int
    """N of the export's name."""
    parent_change_id: str | None = None
    """None: this disk is to be copied in full."""


class JobCallbacks:
    """Callbacks of one job."""

    def __init__(self, job_id: str, vm_name: str, disks: Sequence[DiskPlan]) -> None:
        """`vm_name`: last element of the inventory path. `disks`: in device order."""
        raise NotImplementedError

    def ask(self, vm_name: str, disk_id: str, now: float, call_id: str = "") -> Reply:
        """GET /api/v1/backups/changeid; `now` is monotonic seconds."""
        raise NotImplementedError

    def complete(self, job_id: str, body: bytes, now: float) -> Reply:
        """POST /api/v1/backups/JOB/complete. 200 is the promise that the disk's change id is kept."""
        raise NotImplementedError

    def telemetry(self, job_id: str, body: bytes) -> Reply:
        """POST /api/v1/telemetry/backup/JOB: says nothing that could be relied on."""
        raise NotImplementedError

    def cancel(self) -> None:
        """From now on every ask and complete is answered 410."""
        raise NotImplementedError

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        raise NotImplementedError

    @property
    def turn(self) -> int | None:
        """Index of the disk being copied, None when all are complete."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether every disk is complete."""
        raise NotImplementedError

    @property
    def change_ids(self) -> Mapping[int, str]:
        """Change id of each completed disk, by index. Provisional until `done`."""
        raise NotImplementedError

    @property
    def first_ask(self) -> float | None:
        """When the first ask of the job came."""
        raise NotImplementedError

    @property
    def turn_ask(self) -> float | None:
        """When the last ask for the disk whose turn it is came."""
        raise NotImplementedError

    @property
    def last_complete(self) -> float | None:
        """When the last disk was completed."""
        raise NotImplementedError

    @property
    def refused(self) -> int:
        """How many callbacks were refused so far (4xx other than 410)."""
        raise NotImplementedError

    def asks(self, index: int) -> int:
        """How often was asked while it was this disk's turn."""
        raise NotImplementedError

    def ran(self, index: int) -> Ran:
        """How the disk was copied."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Ran:
    """How a disk was copied, and why if that was not what was planned."""

    type: BackupType
    reason: str = ""
    """Empty as planned, else `AsksLost`, `ChangeIDRefused` or `DiskReplaced`."""
