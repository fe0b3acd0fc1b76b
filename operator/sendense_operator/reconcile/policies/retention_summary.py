"""What a policy's status says of its retention, from the reports of its chains. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuppolicy import Retention, RetentionSummary
from sendense_operator.formatting import human_count, human_list
from sendense_operator.reconcile.protection.retention_reports import RetentionReason, RetentionReport
from sendense_operator.reconcile.protection.time_zones import InvalidTimeZoneError, parse_zone
from sendense_operator.reconcile.state.keys import ChainKey


def summarize(reports: Mapping[ChainKey, RetentionReport]) -> RetentionSummary:
    """Return the counts."""
    return RetentionSummary(
        restore_points=sum(report.points for report in reports.values()),
        expired=sum(report.expired for report in reports.values()),
    )


def with_retention_summary(
    old: conditions.Conditions,
    retention: Retention | None,
    reports: Mapping[ChainKey, RetentionReport],
    *,
    generation: int | None,
    now: datetime,
) -> conditions.Conditions:
    """Return the conditions with whether expired restore points are deleted; none without a retention."""
    if retention is None:
        return conditions.without(old, conditions.RETENTION)
    holds, reason, message = _aspect(retention, reports)
    return conditions.with_aspect(old, conditions.RETENTION, holds, reason, message, generation=generation, now=now)


def _aspect(
    retention: Retention, reports: Mapping[ChainKey, RetentionReport]
) -> tuple[bool | None, RetentionReason, str]:
    try:
        parse_zone(retention.time_zone)
    except InvalidTimeZoneError as error:
        return False, RetentionReason.INVALID, f"retention.{error}. Nothing is deleted"
    if not reports:
        return None, RetentionReason.NOT_CHECKED, "none of its VMs has a restore point that was checked yet"
    obstacles = Counter(report.reason for report in reports.values() if not report.is_applied)
    if obstacles:
        reason, count = obstacles.most_common(1)[0]
        vms = sorted(chain.vm for chain, report in reports.items() if report.reason is reason)
        first = next(report.message for report in reports.values() if report.reason is reason)
        return False, reason, f"{human_count(count, 'chain')} ({human_list(vms)}): {first}"
    summary = summarize(reports)
    text = (
        f"{summary.restore_points - summary.expired} of {human_count(summary.restore_points, 'restore point')} are kept"
    )
    return True, RetentionReason.APPLIED, text
