"""What a chain says of the verification of its restore points. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.api.v1alpha1.backuppolicy import Verification
from sendense_operator.formatting import human_count, human_list
from sendense_operator.reconcile.protection.verification_reports import VerificationReason, VerificationReport
from sendense_operator.reconcile.verification.verified_points import VerifiedPoint
from sendense_operator.task import VerificationLevel


def report_of(
    points: Sequence[VerifiedPoint], state: ChainVerification, rules: Verification | None, now: datetime
) -> VerificationReport | None:
    """Return what there is to say; None for a chain that nothing requires to be verified, and that never was.

    `points`: the oldest first; `rules`: of the policy that rules the chain, None without.
    """
    tried = any(point.known.time is not None for point in points)
    if rules is None and not tried and not state.progress and state.request_time is None:
        return None
    verified = [point for point in points if point.is_verified(rules, now)]
    damaged = [point for point in points if point.is_damaged]
    holds, reason, message = _judge(points, damaged, state, rules, now)
    return VerificationReport(
        points=len(points),
        verified=len(verified),
        damaged=len(damaged),
        is_running=bool(state.progress),
        last_time=state.last_time,
        holds=holds,
        reason=reason,
        message=message,
    )


def _judge(
    points: Sequence[VerifiedPoint],
    damaged: Sequence[VerifiedPoint],
    state: ChainVerification,
    rules: Verification | None,
    now: datetime,
) -> tuple[bool | None, VerificationReason, str]:
    count = human_count(len(points), "restore point")
    if damaged:
        listed = human_list([point.name for point in reversed(damaged)])
        usable = next((point.name for point in reversed(points) if not point.is_damaged), None)
        newest = f"the newest undamaged one is {usable}" if usable else "there is no undamaged one"
        return False, VerificationReason.DAMAGED, f"{len(damaged)} of {count} are damaged: {listed}; {newest}"
    if state.problem:
        return False, VerificationReason.FAILED, state.problem
    slot = state.schedule.slot if state.schedule is not None else None
    # What was committed since the last slot is not late: the next one verifies it.
    counted = [point for point in points if rules is None or (slot is not None and point.time < slot)]
    missing = [point for point in counted if not point.is_verified(rules, now)]
    late = [point for point in missing if point.known.content_time is not None]
    if late and rules is not None:
        listed = human_list([point.name for point in late])
        text = (
            f"the content of {len(late)} of {count} was last read more than {rules.full_cycle_days} days ago: {listed}"
        )
        return False, VerificationReason.OVERDUE, text
    if missing or not counted:
        listed = human_list([point.name for point in reversed(missing or points)])
        return None, VerificationReason.NOT_VERIFIED, f"not verified yet: {listed or 'there is no restore point'}"
    return True, _strength(counted), _good(points, counted, rules)


def _strength(points: Sequence[VerifiedPoint]) -> VerificationReason:
    read = all(point.known.content_time is not None for point in points)
    return VerificationReason.CONTENT if read else VerificationReason.STRUCTURE


def _good(points: Sequence[VerifiedPoint], counted: Sequence[VerifiedPoint], rules: Verification | None) -> str:
    count = human_count(len(counted), "restore point")
    read = _strength(counted) is VerificationReason.CONTENT
    what = "were read and are as they were written" if read else "have the structure that they were written with"
    within = f" within the last {rules.full_cycle_days} days" if _counts_days(rules) and rules is not None else ""
    more = len(points) - len(counted)
    return f"{count} {what}{within}" + (f"; {more} committed since then follow in the next slot" if more else "")


def _counts_days(rules: Verification | None) -> bool:
    return rules is not None and rules.level is VerificationLevel.CONTENT


def with_verification(
    old: conditions.Conditions, report: VerificationReport | None, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """Return the conditions with what `report` says; without a report there is none."""
    if report is None:
        return conditions.without(old, conditions.VERIFIED)
    return conditions.with_aspect(
        old, conditions.VERIFIED, report.holds, report.reason, report.message, generation=generation, now=now
    )
