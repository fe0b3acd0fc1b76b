"""What a policy's status says of the verification of its restore points, from the reports of its chains. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, Verification, VerificationSummary
from sendense_operator.formatting import human_count, human_list
from sendense_operator.reconcile.protection.cron import next_time
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError, parse_zone
from sendense_operator.reconcile.protection.verification_reports import VerificationReason, VerificationReport
from sendense_operator.reconcile.state.keys import ChainKey

_WORST_FIRST: Final = (
    VerificationReason.DAMAGED,
    VerificationReason.FAILED,
    VerificationReason.OVERDUE,
    VerificationReason.NOT_VERIFIED,
    VerificationReason.STRUCTURE,
)


def summarize_verification(
    spec: BackupPolicySpec, reports: Mapping[ChainKey, VerificationReport], now: datetime
) -> VerificationSummary | None:
    """Return the counts; None without spec.verification."""
    if spec.verification is None:
        return None
    return VerificationSummary(
        restore_points=sum(report.points for report in reports.values()),
        verified=sum(report.verified for report in reports.values()),
        damaged=sum(report.damaged for report in reports.values()),
        running=sum(report.is_running for report in reports.values()),
        last_time=max((report.last_time for report in reports.values() if report.last_time is not None), default=None),
        next_time=None if spec.suspend else _next_slot(spec.verification, now),
    )


def _next_slot(rules: Verification, now: datetime) -> datetime | None:
    try:
        return next_time(rules.schedule, parse_zone(rules.time_zone), now)
    except InvalidScheduleError:
        return None  # the condition says why


def with_verification_summary(
    old: conditions.Conditions,
    rules: Verification | None,
    reports: Mapping[ChainKey, VerificationReport],
    *,
    generation: int | None,
    now: datetime,
) -> conditions.Conditions:
    """Return the conditions with whether the restore points are verified; none without spec.verification."""
    if rules is None:
        return conditions.without(old, conditions.VERIFIED)
    holds, reason, message = _aspect(rules, reports, now)
    return conditions.with_aspect(old, conditions.VERIFIED, holds, reason, message, generation=generation, now=now)


def _aspect(
    rules: Verification, reports: Mapping[ChainKey, VerificationReport], now: datetime
) -> tuple[bool | None, VerificationReason, str]:
    try:
        next_time(rules.schedule, parse_zone(rules.time_zone), now)
    except InvalidScheduleError as error:
        return False, VerificationReason.INVALID, f"verification: {error}. Nothing is verified"
    counted = {chain: report for chain, report in reports.items() if report.points}
    if not counted:
        return None, VerificationReason.NOT_VERIFIED, "none of its VMs has a restore point that was checked yet"
    for reason in _WORST_FIRST:
        concerned = {chain: report for chain, report in counted.items() if report.reason is reason}
        if concerned and reason is not VerificationReason.STRUCTURE:
            vms = human_list(sorted(chain.vm for chain in concerned))
            first = next(iter(concerned.values()))
            return first.holds, reason, f"{human_count(len(concerned), 'chain')} ({vms}): {first.message}"
        if concerned:
            break
    else:
        reason = VerificationReason.CONTENT
    verified = sum(report.verified for report in counted.values())
    total = human_count(sum(report.points for report in counted.values()), "restore point")
    return True, reason, f"{verified} of {total} of {human_count(len(counted), 'VM')} are verified"
