"""One Restore while it is checked: what it wants, what it says, and the one place that writes its status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypedDict, Unpack

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.api.v1alpha1.restore import (
    ChosenPoint,
    RestoredDiskStatus,
    RestoreProgress,
    RestoreSpec,
    RestoreStatus,
)
from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine
from sendense_operator.cluster.kinds import RESTORE
from sendense_operator.cluster.object_names import restore_name, sender_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import human_duration, whole_seconds
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import RestoreContext
from sendense_operator.reconcile.state.kubernetes_objects import created
from sendense_operator.reconcile.state.observed_run import ObservedRun, seconds_of_run
from sendense_operator.reconcile.workload.run_deadlines import RunDeadlines
from sendense_operator.task import Stage

_WORDS_S: Final = 30.0
"""Between two writes that tell a waiting Restore's wait in other words."""
_END_S: Final = 600
"""What an export may take beyond its time: its pod has to start and to end."""
_FOREVER_S: Final = 315_360_000
"""Ten years."""
_ORDINARY_WAITS: Final = frozenset(
    {
        "Accepted",
        "BackupNotFound",
        "BackupNotReady",
        "ClaimNotFound",
        "NoRestorePoint",
        "RepositoryNotFound",
        "RepositoryNotReady",
        "SenderStarting",
        "Starting",
        "WaitingForSlot",
    }
)
"""Reasons of a wait that are the ordinary course of things: others run, or objects are applied in any order."""
EventType = Literal["Normal", "Warning"]


class RestoreChanges(TypedDict, total=False):
    """Fields of `RestoreStatus` by name; the others follow from the conditions and times."""

    stage: Stage | None
    restore_point: ChosenPoint | None
    virtual_machine: PlannedMachine | None
    worker_job: str | None
    sender_job: str | None
    tls_secret: str | None
    attempts: int | None
    node_name: str | None
    pod_uid: str | None
    start_time: datetime | None
    last_failure: str | None
    progress: RestoreProgress | None
    disks: list[RestoredDiskStatus]


class _DerivedChanges(RestoreChanges, total=False):
    observed_generation: int | None
    conditions: list[Condition]
    phase: Phase | None
    message: str | None
    completion_time: datetime | None
    duration: str | None
    duration_seconds: int | None


@dataclass
class ObservedRestore(ObservedRun):
    """A Restore as it was read."""

    obj: Obj
    spec: RestoreSpec
    status: RestoreStatus

    @classmethod
    def of(cls, obj: Obj) -> ObservedRestore:
        """From the object as the API server gives it."""
        spec = RestoreSpec.model_validate(obj["spec"])
        return cls(obj, spec, RestoreStatus.model_validate(obj.get("status") or {}))

    @property
    def job_name(self) -> str:
        """Name of its Job."""
        return restore_name(self.name, self.uid)

    @property
    def sender_name(self) -> str:
        """Name of the Job of its sender, if it needs one."""
        return sender_name(self.name, self.uid)

    @property
    def repository_key(self) -> ObjectKey | None:
        """The BackupRepository of the chosen restore point; None before one was chosen."""
        point = self.status.restore_point
        return ObjectKey(self.namespace, point.repository_name) if point is not None else None

    @property
    def deadlines(self) -> RunDeadlines:
        """Its deadlines."""
        spec, active = self.spec, self.spec.active_deadline_seconds
        if spec.nbd is not None:
            active = spec.nbd.ttl_seconds + _END_S if spec.nbd.ttl_seconds is not None else _FOREVER_S
        return RunDeadlines(created(self.obj), self.status.start_time, spec.start_deadline_seconds, active)

    @property
    def pods_selector(self) -> str:
        """Label selector of its workers' pods."""
        return f"{names.LABEL_COMPONENT}={names.COMPONENT_RESTORE},job-name={self.job_name}"


def next_restore_status(
    restore: ObservedRestore, state: State, changes: RestoreChanges, now: datetime
) -> RestoreStatus:
    """Return the status with `state` and `changes`; phase and message follow from `state`."""
    generation = restore.obj["metadata"].get("generation")
    old = conditions.dicts_of(restore.status)
    updated = conditions.update(old, state, generation=generation, now=now)
    phase = conditions.phase_of(updated)
    over = phase in conditions.TERMINAL_PHASES
    ended = restore.status.completion_time or whole_seconds(now)
    started = changes.get("start_time") or restore.status.start_time
    seconds = seconds_of_run(started, ended) if over else None
    derived: _DerivedChanges = {
        **changes,
        "observed_generation": generation,
        "conditions": conditions.models_of(updated),
        "phase": phase,
        "stage": changes.get("stage") if not over else None,
        "message": conditions.shortened(state.message),
        "completion_time": ended if over else None,
        "duration_seconds": seconds,
        "duration": human_duration(seconds) if seconds is not None else None,
    }
    return _changed_status(restore.status, derived)


def _changed_status(status: RestoreStatus, changes: _DerivedChanges) -> RestoreStatus:
    return status.model_copy(update=dict(changes))


async def publish(
    ctx: RestoreContext,
    restore: ObservedRestore,
    state: State,
    *,
    urgent: bool = False,
    **changes: Unpack[RestoreChanges],
) -> float:
    """Write the status if it says something new, and tell of it in Events.

    Returns 0, or the seconds until it may be written: what is neither `urgent` nor a change of phase or stage waits for
    `poll_seconds` since the last write while a worker runs, other words of what is waited for for _WORDS_S.
    """
    status = next_restore_status(restore, state, changes, ctx.now())
    if status == restore.status:
        return 0.0
    moved = status.phase != restore.status.phase or status.stage != restore.status.stage
    last = ctx.restore_hints.written.get(restore.uid)
    if not (moved or urgent) and last is not None:
        rest = last + _distance(restore.status, status, ctx.settings.poll_seconds) - ctx.monotonic()
        if rest > 0:
            return rest
    if await write_status(ctx.cluster, RESTORE, restore.obj, status):
        ctx.restore_hints.written.put(restore.uid, ctx.monotonic())
        for kind, reason, message in events_of_change(restore.status, status):
            await ctx.events.post(restore.obj, kind, reason, message)
    restore.status = status
    restore.obj = {**restore.obj, "status": status.to_dict()}
    return 0.0


def _distance(old: RestoreStatus, new: RestoreStatus, poll_seconds: float) -> float:
    """Return the seconds between two writes of a status that is not urgent."""
    if new.phase is Phase.RUNNING:
        return poll_seconds
    return _WORDS_S if conditions.changed_ready(old, new) is None else 0.0


def events_of_change(old: RestoreStatus, new: RestoreStatus) -> list[tuple[EventType, str, str]]:
    """Return the Events of a change: (type, reason, message)."""
    ready = conditions.of_status(new, conditions.READY)
    reason, message = (ready.reason, ready.message) if ready else ("", "")
    if new.phase != old.phase:
        match new.phase:
            case Phase.COMPLETED:
                damaged = any(disk.damaged_bytes for disk in new.disks)
                return [("Warning" if damaged else "Normal", reason, message)]
            case Phase.FAILED:
                return [("Warning", "Failed", f"{reason}: {message}")]
            case Phase.CANCELLED:
                return [("Normal", "Cancelled", message)]
            case Phase.RUNNING:
                return [("Normal", "Started", f"worker {new.worker_job}: {message}")]
    if conditions.changed_ready(old, new) is None:
        return []
    if reason == conditions.REASON_NO_MACHINE:
        return [("Warning", reason, message)]
    if reason == conditions.REASON_SERVING:
        return [("Normal", reason, message)]
    if new.phase is not Phase.PENDING:
        return []
    return [("Normal" if reason in _ORDINARY_WAITS else "Warning", reason, message)]
