"""What is to be verified now: by the policy's schedule, or on request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.api.v1alpha1.backuppolicy import CatchUp, Schedule, ScheduleStatus, Verification
from sendense_operator.formatting import whole_seconds
from sendense_operator.reconcile.protection.slots import advance
from sendense_operator.reconcile.verification.verified_points import (
    Slot,
    VerifiedPoint,
    due_in_slot,
    due_on_request,
)
from sendense_operator.task import MAX_VERIFIED_POINTS, VerificationLevel

SCHEDULE: Final = "verification"
"""Name of the schedule in the chain's status."""


@dataclass(frozen=True)
class DueVerification:
    """What the next pod is to verify."""

    level: VerificationLevel
    points: tuple[VerifiedPoint, ...]
    """The newest first, at most MAX_VERIFIED_POINTS."""
    bytes_per_second: int | None


def advance_schedule(
    old: ScheduleStatus | None, rules: Verification, *, suspended: bool, now: datetime
) -> ScheduleStatus:
    """Return the schedule as of now. Raises InvalidScheduleError.

    A slot that was missed is made up for, since the restore points were not verified meanwhile.
    """
    schedule = Schedule(name=SCHEDULE, cron=rules.schedule, time_zone=rules.time_zone)
    return advance(schedule, old, begin=now, suspended=suspended, catch_up=CatchUp.ONCE, now=now).status


def take_request(state: ChainVerification, request: str, points: Sequence[VerifiedPoint], now: datetime) -> None:
    """Begin or end what the annotation on the chain requests; `request`: its value."""
    if not request or request == state.request:
        state.request_time = None
        return
    if state.request_time is None:
        # A point that is being verified at this moment is verified again.
        state.request_time = whole_seconds(now)
    if not due_on_request([_without_request(point) for point in points], state.request_time):
        state.request, state.request_time = request, None


def _without_request(point: VerifiedPoint) -> VerifiedPoint:
    return VerifiedPoint(point.name, point.uid, point.time, point.known, point.is_damaged, "", point.load)


def decide_due(
    points: Sequence[VerifiedPoint], state: ChainVerification, rules: Verification | None
) -> DueVerification | None:
    """Return what is due, requests first; None: nothing. A slot of which nothing is left is closed."""
    limit = rules.bytes_per_second if rules is not None else None
    if requested := due_on_request(points, state.request_time):
        return DueVerification(VerificationLevel.CONTENT, tuple(requested[:MAX_VERIFIED_POINTS]), limit)
    slot = _open_slot(state.schedule)
    if rules is None or slot is None:
        return None
    if due := due_in_slot(points, rules, slot):
        return DueVerification(rules.level, tuple(due[:MAX_VERIFIED_POINTS]), limit)
    if state.schedule is not None:
        state.schedule.open = False
    return None


def _open_slot(schedule: ScheduleStatus | None) -> Slot | None:
    if schedule is None or not schedule.open or schedule.slot is None or schedule.started is None:
        return None
    end = schedule.next_time or schedule.slot + timedelta(days=1)
    return Slot(schedule.started, end - schedule.slot)
