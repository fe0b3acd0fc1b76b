"""Conditions as kstatus reads them, and the one place that derives the phase of a Backup or a Restore from them.

Ready says whether the object is in the state that its spec requests. Reconciling (work is under way) and Stalled (it
will not recover by itself) are abnormal-true conditions: they exist only while true. See kubernetes-sigs/cli-utils,
pkg/kstatus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.base import Condition, Status

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"

REASON_SERVING: Final = "Serving"
"""Reason of Ready while a Restore serves its disks: it is as its spec requests, but not at its end."""
REASON_NO_MACHINE: Final = "VirtualMachineNotCreated"
"""Of a Restore whose disks are all restored, while its VirtualMachine can't be created."""
REASON_CANCELLED: Final = "Cancelled"
REASON_DELETING: Final = "Deleting"
REASON_RETAINED: Final = "RetainedUntil"
"""Of a Backup that is being deleted while its restore point is immutable."""
REASON_LOST: Final = "Lost"
REASON_CALLBACKS_ELSEWHERE: Final = "CallbacksElsewhere"
"""The job's callbacks arrive where they reach no worker. Also a reason of an appliance's condition CallbacksArrive."""
FREEING: Final = "Freeing"
"""Condition type of a chain: whether unneeded files can be removed. Present since the first time they could not."""
RETENTION: Final = "Retention"
"""Condition type of chains and policies with a retention: whether expired restore points are deleted."""
PROTECTED: Final = "Protected"
"""Condition type of a ProtectedVM: whether its newest restore point is as recent as its policies require."""
OBJECTIVE: Final = "Objective"
"""Condition type of policies with an objective: whether all of its VMs are within it."""
VERIFIED: Final = "Verified"
"""Condition type of Backups, chains and policies: whether restore points are known to read as they were written."""
DAMAGED: Final = "Damaged"
"""Condition type, present only while true: a layer of the restore point does not read back as it was written."""
RUNNING_REASONS: Final = frozenset(
    {
        "Starting",
        "CheckingParent",
        "Preflight",
        "WaitingForVMA",
        "Copying",
        "Restoring",
        "Serving",
        "Consolidating",
        "Verifying",
        "Committing",
        "Cancelling",
        "Retrying",
        "Recovering",
        "Ending",
        "Unreachable",
        REASON_NO_MACHINE,
        REASON_CALLBACKS_ELSEWHERE,
    }
)
"""Reasons of Reconciling while a worker exists; any other reason means that the Backup waits."""

_MESSAGE_LIMIT: Final = 4096
_SHORT: Final = 256

Conditions = list[dict[str, Any]]


def dicts_of(status: Status) -> Conditions:
    """Return the conditions of a status, as the functions here take them."""
    return [condition.to_dict() for condition in status.conditions]


def models_of(conditions: Iterable[Mapping[str, Any]]) -> list[Condition]:
    """Return the models of conditions, for a status."""
    return [Condition.model_validate(condition) for condition in conditions]


@dataclass(frozen=True)
class State:
    """Which condition of Ready's family is true, and why."""

    kind: str
    """READY, RECONCILING or STALLED."""
    reason: str
    message: str


def ready(reason: str, message: str) -> State:
    """Return the state of an object that is as its spec requests."""
    return State(READY, reason, message)


def reconciling(reason: str, message: str) -> State:
    """Return the state of an object that is being worked on, or waits for what the message names."""
    return State(RECONCILING, reason, message)


def stalled(reason: str, message: str) -> State:
    """Return the state of an object that needs somebody's action; the message says which."""
    return State(STALLED, reason, message)


def update(
    old: Iterable[Mapping[str, Any]],
    state: State,
    *,
    generation: int | None = None,
    now: datetime | None = None,
) -> Conditions:
    """Return the conditions that represent `state`.

    A condition whose status did not change keeps its transition time. Conditions of other types in `old` stay.
    """
    before = {c["type"]: c for c in old}
    kept = [dict(c) for c in before.values() if c["type"] not in (READY, RECONCILING, STALLED)]
    wanted = [(READY, "True" if state.kind == READY else "False")]
    wanted += [(state.kind, "True")] if state.kind != READY else []
    made = [
        _condition(kind, status, state.reason, state.message, before.get(kind), generation, now)
        for kind, status in wanted
    ]
    return made + kept


def with_aspect(
    old: Sequence[Mapping[str, Any]],
    kind: str,
    holds: bool | None,
    reason: str,
    message: str,
    *,
    generation: int | None = None,
    now: datetime | None = None,
) -> Conditions:
    """Return `old` with a condition of type `kind`, which is not one of Ready's family; `holds` None is Unknown."""
    result = without(old, kind)
    status = "Unknown" if holds is None else str(holds)
    return [*result, _condition(kind, status, reason, message, find(old, kind), generation, now)]


def without(old: Sequence[Mapping[str, Any]], kind: str) -> Conditions:
    """Return the conditions of all other types."""
    return [dict(c) for c in old if c["type"] != kind]


def _condition(
    kind: str,
    status: str,
    reason: str,
    message: str,
    before: Mapping[str, Any] | None,
    generation: int | None,
    now: datetime | None,
) -> dict[str, Any]:
    same = before is not None and before.get("status") == status
    stamp = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition: dict[str, Any] = {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "lastTransitionTime": before["lastTransitionTime"] if same and before else stamp,
    }
    if generation is not None:
        condition["observedGeneration"] = generation
    return condition


def shortened(text: str) -> str:
    """Return a message as the Message column shows it: one line of at most 256 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of that type, None if it is absent."""
    return next((c for c in conditions if c.get("type") == kind), None)


def of_status(status: Status, kind: str) -> Condition | None:
    """Return the status's condition of that type, None if it is absent."""
    return next((condition for condition in status.conditions if condition.type == kind), None)


def changed_ready(old: Status, new: Status) -> Condition | None:
    """Return the Ready condition of `new` if its reason differs from that of `old`, else None."""
    was, now = of_status(old, READY), of_status(new, READY)
    return now if now is not None and (was is None or was.reason != now.reason) else None


def is_true(conditions: Iterable[Mapping[str, Any]], kind: str) -> bool:
    """Return whether the condition of that type is present and true."""
    condition = find(conditions, kind)
    return condition is not None and condition.get("status") == "True"


def phase_of(conditions: Iterable[Mapping[str, Any]]) -> Phase:
    """Return the phase of a Backup or a Restore. No other code derives it."""
    conditions = list(conditions)
    busy = find(conditions, RECONCILING)
    if busy and busy.get("status") == "True":
        if busy["reason"] in (REASON_DELETING, REASON_RETAINED):
            return Phase.DELETING
        return Phase.RUNNING if busy["reason"] in RUNNING_REASONS else Phase.PENDING
    ready = find(conditions, READY)
    if ready and ready.get("status") == "True":
        return Phase.RUNNING if ready["reason"] == REASON_SERVING else Phase.COMPLETED
    stopped = find(conditions, STALLED)
    if stopped and stopped.get("status") == "True":
        return _STOPPED.get(stopped["reason"], Phase.FAILED)
    return Phase.PENDING


_STOPPED: Final = {REASON_CANCELLED: Phase.CANCELLED, REASON_LOST: Phase.LOST}

TERMINAL_PHASES: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.LOST})
