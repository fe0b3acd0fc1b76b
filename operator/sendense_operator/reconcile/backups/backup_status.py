"""One Backup while it is checked: what it wants, what it says, and the one place that writes its status."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Unpack

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupSpec, BackupStatus, Phase
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.object_names import service_name, worker_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import human_duration, whole_seconds
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.status_changes import BackupChanges, DerivedChanges, changed_status
from sendense_operator.reconcile.catalogue.ownership import is_restored, point_uid
from sendense_operator.reconcile.state.context import ReconcileContext, RestorePointContext
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import created
from sendense_operator.reconcile.state.observed_run import ObservedRun, seconds_of_run
from sendense_operator.reconcile.workload.run_deadlines import RunDeadlines
from sendense_operator.task import FullReason

_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]{0,254}[A-Za-z0-9_])?")
ACCEPTED: Final = "Accepted"
"""Reason of the first condition, until it is known whether the Backup may start."""
WORDS_S: Final = 30.0
"""Between two writes that tell a waiting Backup's wait in other words: each start moves all of a queue up."""


@dataclass
class ObservedBackup(ObservedRun):
    """A Backup as it was read."""

    obj: Obj
    spec: BackupSpec
    status: BackupStatus

    @classmethod
    def of(cls, obj: Obj) -> ObservedBackup:
        """From the object as the API server gives it."""
        return cls(
            obj,
            BackupSpec.model_validate(obj["spec"]),
            BackupStatus.model_validate(obj.get("status") or {}),
        )

    @property
    def repository_key(self) -> ObjectKey:
        """Its BackupRepository."""
        return ObjectKey(self.namespace, self.spec.repository_ref.name)

    @property
    def chain_key(self) -> ChainKey:
        """The chain that it belongs to."""
        return ChainKey(self.spec.vm_ref.name, self.spec.repository_ref.name)

    @property
    def point_uid(self) -> str:
        """UID by which the repository knows its restore point: of the Backup that made it."""
        return point_uid(self.obj)

    @property
    def copies_nothing(self) -> bool:
        """Whether it only represents a restore point that exists: adopted, or created from a copy of an object."""
        return self.spec.adopt is not None or is_restored(self.obj)

    @property
    def job_name(self) -> str:
        """Name of its Job and NetworkPolicy."""
        return worker_name(self.name, self.uid)

    @property
    def service_name(self) -> str:
        """Name of its Service."""
        return service_name(self.name, self.uid)

    @property
    def only_looks(self) -> bool:
        """Whether a worker ended without a word: the next one copies nothing, and checks whether it had committed."""
        return self.status.worker_death is not None

    @property
    def deadlines(self) -> RunDeadlines:
        """Its deadlines."""
        spec = self.spec
        return RunDeadlines(
            created(self.obj), self.status.start_time, spec.start_deadline_seconds, spec.active_deadline_seconds
        )

    @property
    def pods_selector(self) -> str:
        """Label selector of its workers' pods."""
        return f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER},{names.LABEL_BACKUP_UID}={self.uid}"


def next_backup_status(backup: ObservedBackup, state: State, changes: BackupChanges, now: datetime) -> BackupStatus:
    """Return the status with `state` and `changes`; phase and message follow from `state`."""
    generation = backup.obj["metadata"].get("generation")
    old = conditions.dicts_of(backup.status)
    if not _REASON.fullmatch(state.reason):
        state = State(state.kind, "WorkerFailed", f"{state.reason}: {state.message}")
    updated = conditions.update(old, state, generation=generation, now=now)
    phase = conditions.phase_of(updated)
    over = phase in conditions.TERMINAL_PHASES
    ended_before = state.reason == conditions.REASON_RETAINED
    # A restore point that was lost, or found again, was made when it was made.
    ended = changes.get("completion_time") or backup.status.completion_time or whole_seconds(now)
    started = changes.get("start_time") or backup.status.start_time
    seconds = seconds_of_run(started, ended) if over or ended_before else None
    derived: DerivedChanges = {
        **changes,
        "observed_generation": generation,
        "conditions": conditions.models_of(updated),
        "phase": phase,
        "stage": changes.get("stage") if not over else None,
        "message": conditions.shortened(state.message),
        "completion_time": ended if over or ended_before else None,
        "duration_seconds": seconds,
        "duration": human_duration(seconds) if seconds is not None else None,
    }
    return changed_status(backup.status, derived)


async def publish(
    ctx: RestorePointContext,
    backup: ObservedBackup,
    state: State,
    *,
    urgent: bool = False,
    **changes: Unpack[BackupChanges],
) -> float:
    """Write the status if it says something new, and tell of it in Events.

    Returns 0, or the seconds until it may be written: what is neither `urgent` nor a change of phase or stage
    waits for `poll_seconds` since the last write, other words of what is waited for for WORDS_S.
    """
    status = next_backup_status(backup, state, changes, ctx.now())
    if status == backup.status:
        return 0.0
    moved = status.phase != backup.status.phase
    urgent = urgent or status.stage != backup.status.stage or _needs_attention(backup.status, status)
    last = ctx.backup_hints.written.get(backup.uid)
    distance = _distance(backup.status, status, ctx.settings.poll_seconds)
    if not (moved or urgent) and last is not None:
        rest = last + distance - ctx.monotonic()
        if rest > 0:
            return rest
    if await write_status(ctx.cluster, BACKUP, backup.obj, status):
        ctx.backup_hints.written.put(backup.uid, ctx.monotonic())
        for kind, reason, message in events_of_change(backup.status, status):
            await ctx.events.post(backup.obj, kind, reason, message)
    backup.status = status
    backup.obj = {**backup.obj, "status": status.to_dict()}
    if moved:
        await label(ctx, backup)
    return 0.0


def _distance(old: BackupStatus, new: BackupStatus, poll_seconds: float) -> float:
    """Return the seconds between two writes of a status that is not urgent."""
    if new.phase is Phase.RUNNING:
        return poll_seconds
    return WORDS_S if new.phase is Phase.PENDING and _wordless(old) == _wordless(new) else 0.0


def _wordless(status: BackupStatus) -> BackupStatus:
    copy = status.model_copy(deep=True)
    copy.message = None
    for condition in copy.conditions:
        condition.message = ""
    return copy


_ORDINARY_WAIT: Final = re.compile(r".*Busy|Waiting.*|.*NotFound|.*NotReady|ClaimPending|PortsChanging|Starting")
"""Reasons of a wait that are the ordinary course of things: others run, or objects are applied in any order."""


def events_of_change(old: BackupStatus, new: BackupStatus) -> list[tuple[Literal["Normal", "Warning"], str, str]]:
    """Return the Events of a change: (type, reason, message)."""
    ready = conditions.of_status(new, conditions.READY)
    reason, message = (ready.reason, ready.message) if ready else ("", "")
    if new.phase != old.phase:
        match new.phase:
            case Phase.COMPLETED:
                if new.adopted and old.phase in (None, Phase.PENDING):
                    return [("Normal", "Adopted", f"its restore point was found in the repository: {message}")]
                return [("Normal", reason, message), *_fell_back(old, new)]
            case Phase.LOST:
                return [("Warning", reason, message)]
            case Phase.FAILED:
                return [("Warning", "Failed", f"{reason}: {message}")]
            case Phase.CANCELLED:
                return [("Normal", "Cancelled", message)]
            case Phase.DELETING if reason == conditions.REASON_RETAINED:
                return [("Warning", reason, message)]
            case Phase.RUNNING:
                return [("Normal", "Started", f"worker {new.worker_job}: {message}")]
    if reason == ACCEPTED or conditions.changed_ready(old, new) is None:
        return []
    if new.phase is Phase.PENDING:
        return [("Normal" if _ORDINARY_WAIT.fullmatch(reason) else "Warning", reason, message)]
    return [(_EVENTS_WHILE_RUNNING[reason], reason, message)] if reason in _EVENTS_WHILE_RUNNING else []


_EVENTS_WHILE_RUNNING: Final[dict[str, Literal["Normal", "Warning"]]] = {
    "Cancelling": "Normal",
    conditions.REASON_CALLBACKS_ELSEWHERE: "Warning",
}
"""Reasons of a running Backup that are worth an Event: somebody did or has to do something."""


def _needs_attention(old: BackupStatus, new: BackupStatus) -> bool:
    """Return whether the reason has just become one that is worth an Event, so that its status does not wait."""
    ready = conditions.changed_ready(old, new)
    return ready is not None and ready.reason in _EVENTS_WHILE_RUNNING


_EXPECTED: Final = frozenset({FullReason.NO_PARENT, FullReason.NEW_DISK, FullReason.CHAIN_TOO_LONG})
"""Reasons for a full that are the ordinary course of things."""


def _fell_back(old: BackupStatus, new: BackupStatus) -> list[tuple[Literal["Normal", "Warning"], str, str]]:
    """Of a backup that just ran: the disks that became fulls although increments were wanted."""
    disks = [disk for disk in new.disks if disk.reason]
    if not disks or new.adopted or old.phase is Phase.LOST:
        return []
    text = "; ".join(f"disk {disk.index} was copied in full: {disk.reason}" for disk in disks)
    return [("Normal" if all(disk.reason in _EXPECTED for disk in disks) else "Warning", "FellBackToFull", text)]


def wanted_labels(backup: ObservedBackup) -> dict[str, str]:
    """Return the labels that make `kubectl get -l` answer what the field selectors answer."""
    labels = {
        names.LABEL_VM: backup.spec.vm_ref.name,
        names.LABEL_REPOSITORY: backup.spec.repository_ref.name,
        names.LABEL_TYPE: backup.spec.type.value,
        names.LABEL_PHASE: backup.status.phase.value if backup.status.phase else Phase.PENDING.value,
    }
    return labels | ({names.LABEL_ADOPTED: "true"} if backup.spec.adopt is not None or backup.status.adopted else {})


async def label(ctx: ReconcileContext, backup: ObservedBackup) -> None:
    """Keep the labels; they are a convenience, so a failure to write them is left to the next check."""
    wanted = wanted_labels(backup)
    present = backup.obj["metadata"].get("labels") or {}
    if all(present.get(key) == value for key, value in wanted.items()):
        return
    patch = {"metadata": {"uid": backup.uid, "labels": wanted}}
    try:
        backup.obj = await ctx.cluster.merge_patch(BACKUP, backup.namespace, backup.name, patch)
    except ClusterError:
        return
