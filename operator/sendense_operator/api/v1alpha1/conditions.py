"""Conditions as kstatus reads them, and the one place that derives a Backup's phase from them.

Ready says whether the object is what its spec wants. Reconciling (under way) and Stalled (will not get better by
itself) are abnormal-true: they are there only while true. See kubernetes-sigs/cli-utils, pkg/kstatus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sendense_operator.api.v1alpha1.backup import Phase

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"

REASON_CANCELLED: Final = "Cancelled"
REASON_DELETING: Final = "Deleting"
RUNNING_REASONS: Final = frozenset(
    {
        "Starting",
        "Preflight",
        "WaitingForVMA",
        "Copying",
        "Verifying",
        "Committing",
        "Cancelling",
        "Retrying",
        "Unreachable",
    }
)
"""Reasons of Reconciling while a worker exists; any other reason means that the Backup waits."""

_MESSAGE_LIMIT: Final = 4096

Conditions = list[dict[str, Any]]


def ready(reason: str, message: str) -> dict[str, str]:
    """The object is what its spec wants."""
    return {READY: "True", "reason": reason, "message": message}


def reconciling(reason: str, message: str) -> dict[str, str]:
    """Work is under way, or waits for something that is named."""
    return {RECONCILING: "True", "reason": reason, "message": message}


def stalled(reason: str, message: str) -> dict[str, str]:
    """It will not get better without somebody doing something; the message says what."""
    return {STALLED: "True", "reason": reason, "message": message}


def update(
    old: Iterable[Mapping[str, Any]],
    state: Mapping[str, str],
    *,
    generation: int | None = None,
    now: datetime | None = None,
) -> Conditions:
    """The conditions that say `state` (made by `ready`, `reconciling` or `stalled`).

    Transition times are kept where the status did not change. Conditions of other types in `old` stay.
    """
    stamp = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = {c["type"]: c for c in old}
    kept = [dict(c) for c in before.values() if c["type"] not in (READY, RECONCILING, STALLED)]
    message = state["message"][:_MESSAGE_LIMIT]
    wanted = [(READY, "True" if READY in state else "False")]
    wanted += [(kind, "True") for kind in (RECONCILING, STALLED) if kind in state]
    result: Conditions = []
    for kind, status in wanted:
        previous = before.get(kind)
        same = previous is not None and previous.get("status") == status
        condition: dict[str, Any] = {
            "type": kind,
            "status": status,
            "reason": state["reason"],
            "message": message,
            "lastTransitionTime": previous["lastTransitionTime"] if same and previous else stamp,
        }
        if generation is not None:
            condition["observedGeneration"] = generation
        result.append(condition)
    return result + kept


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The condition of that type, if it is there."""
    return next((c for c in conditions if c.get("type") == kind), None)


def is_true(conditions: Iterable[Mapping[str, Any]], kind: str) -> bool:
    """Whether the condition of that type is there and true."""
    condition = find(conditions, kind)
    return condition is not None and condition.get("status") == "True"


def phase_of(conditions: Iterable[Mapping[str, Any]]) -> Phase:
    """A Backup's phase. The only place that derives it."""
    conditions = list(conditions)
    busy = find(conditions, RECONCILING)
    if busy and busy.get("status") == "True":
        if busy["reason"] == REASON_DELETING:
            return Phase.DELETING
        return Phase.RUNNING if busy["reason"] in RUNNING_REASONS else Phase.PENDING
    if is_true(conditions, READY):
        return Phase.COMPLETED
    stopped = find(conditions, STALLED)
    if stopped and stopped.get("status") == "True":
        return Phase.CANCELLED if stopped["reason"] == REASON_CANCELLED else Phase.FAILED
    return Phase.PENDING


TERMINAL_PHASES: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})
