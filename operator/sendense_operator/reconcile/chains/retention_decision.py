"""What a policy's retention makes of a chain's restore points: which rule keeps each, which are to go. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, Hold, KeepRule, PointState
from sendense_operator.api.v1alpha1.backuppolicy import Retention
from sendense_operator.chain.retention import DatedPoint, RetentionRules, rules_that_keep
from sendense_operator.cluster.object_names import is_policy_backup_name
from sendense_operator.formatting import human_count, human_list, utc_stamp, whole_seconds
from sendense_operator.reconcile.catalogue.immutable_points import is_immutable
from sendense_operator.reconcile.protection.retention_reports import RetentionReason, RetentionReport
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.time_zones import InvalidTimeZoneError, parse_zone

_REASONS: Final[Mapping[Hold, RetentionReason]] = {
    Hold.DRY_RUN: RetentionReason.DRY_RUN,
    Hold.SUSPENDED: RetentionReason.SUSPENDED,
    Hold.RETAIN: RetentionReason.FILES_RETAINED,
}
_WHY: Final[Mapping[Hold, str]] = {
    Hold.DRY_RUN: "spec.retention.dryRun of the policy is true: nothing is deleted",
    Hold.SUSPENDED: "the policy is suspended: nothing is deleted",
    Hold.RETAIN: "deletionPolicy Retain, of the repository or the Backup, would keep the files: delete these Backups "
    "yourself, or set deletionPolicy to Delete",
}


@dataclass(frozen=True)
class RetentionFacts:
    """What rules a chain."""

    vm: str
    policy: PolicyEntry
    repository_retains: bool
    """Whether the repository's deletionPolicy is Retain."""


@dataclass(frozen=True)
class RetentionPoint:
    """A restore point."""

    name: str
    completed: datetime
    taken: datetime
    """When its content was taken: a backup that ends after midnight belongs to the day on which it began."""
    state: PointState
    policy: str | None
    """Name of the policy that created it."""
    retained: bool
    """Whether its own deletionPolicy is Retain."""
    immutable_until: datetime | None = None
    """Until when it is immutable; None: it is not."""


@dataclass(frozen=True)
class Fate:
    """What becomes of a restore point."""

    kept_by: tuple[KeepRule, ...] = ()
    expired_since: datetime | None = None
    held_by: Hold | None = None
    held_until: datetime | None = None
    """For Hold.IMMUTABLE: until when."""


KEPT: Final = Fate()
"""Of a point that retention does not concern."""


@dataclass(frozen=True)
class RetentionDecision:
    """What becomes of all restore points of a chain."""

    policy: str
    fates: Mapping[str, Fate] = field(default_factory=dict)
    """By name of the Backup; in the order of the chain."""
    invalid: str = ""
    """What is wrong with the policy's retention."""

    @property
    def expired(self) -> int:
        """How many restore points no rule keeps."""
        return sum(fate.expired_since is not None for fate in self.fates.values())

    @property
    def held_until(self) -> datetime | None:
        """When the first expired restore point ceases to be immutable; None: none is held by that."""
        return min((fate.held_until for fate in self.fates.values() if fate.held_until is not None), default=None)

    @property
    def to_delete(self) -> list[str]:
        """Names of Backups to delete now, the oldest first."""
        return [name for name, fate in self.fates.items() if fate.expired_since is not None and fate.held_by is None]


def decide_retention(
    points: Sequence[RetentionPoint], old: BackupChainStatus, facts: RetentionFacts, now: datetime
) -> RetentionDecision | None:
    """Return what becomes of each point (`points`: oldest first); None where the policy has no retention."""
    if facts.policy.retention is None:
        return None
    retention, policy = facts.policy.retention, facts.policy.name
    try:
        rules = _rules(retention)
    except InvalidTimeZoneError as error:
        return RetentionDecision(policy, {point.name: KEPT for point in points}, invalid=f"retention.{error}")
    manual = {point.name for point in points if not retention.include_manual and not _is_of(point, facts)}
    # One whose files were lost has nothing to delete, and says so in its own status until somebody deletes it.
    counted = [point for point in points if point.name not in manual and point.state is not PointState.LOST]
    kept_by = rules_that_keep(
        [DatedPoint(point.name, point.taken, point.state is PointState.AVAILABLE) for point in counted], rules
    )
    known = {(point.backup, point.time): point.expired_since for point in old.restore_points}
    fates = {}
    for point in points:
        if point.name in manual:
            fates[point.name] = Fate((KeepRule.MANUAL,))
        elif kept := kept_by.get(point.name, ()):
            fates[point.name] = Fate(kept)
        elif point.name in kept_by:
            since = known.get((point.name, point.completed)) or whole_seconds(now)
            hold = _hold(point, facts, retention, now)
            fates[point.name] = Fate((), since, hold, point.immutable_until if hold is Hold.IMMUTABLE else None)
        else:
            fates[point.name] = KEPT
    return RetentionDecision(policy, fates)


def _is_of(point: RetentionPoint, facts: RetentionFacts) -> bool:
    if point.policy is not None:
        return point.policy == facts.policy.name
    return is_policy_backup_name(point.name, facts.vm, facts.policy.name)


def _hold(point: RetentionPoint, facts: RetentionFacts, retention: Retention, now: datetime) -> Hold | None:
    if retention.dry_run:
        return Hold.DRY_RUN
    if facts.policy.suspended:
        return Hold.SUSPENDED
    if point.retained or facts.repository_retains:
        return Hold.RETAIN
    return Hold.IMMUTABLE if is_immutable(point.immutable_until, now) else None


def _rules(retention: Retention) -> RetentionRules:
    """Return the rules as they are counted. Raises InvalidTimeZoneError."""
    counts = {
        KeepRule.LAST: retention.keep_last,
        KeepRule.HOURLY: retention.keep_hourly,
        KeepRule.DAILY: retention.keep_daily,
        KeepRule.WEEKLY: retention.keep_weekly,
        KeepRule.MONTHLY: retention.keep_monthly,
        KeepRule.YEARLY: retention.keep_yearly,
    }
    return RetentionRules(
        counts={rule: count for rule, count in counts.items() if count is not None},
        within=retention.keep_within or "",
        minimum=retention.minimum,
        zone=parse_zone(retention.time_zone),
    )


def report_of(decision: RetentionDecision, rejected: str) -> RetentionReport:
    """Return what the chain's condition and the policy's status say. `rejected`: why the API server deleted nothing."""
    manual = sum(KeepRule.MANUAL in fate.kept_by for fate in decision.fates.values())
    points = sum(bool(fate.kept_by) or fate.expired_since is not None for fate in decision.fates.values()) - manual
    if decision.invalid:
        return RetentionReport(0, 0, RetentionReason.INVALID, f"{decision.invalid}. Nothing is deleted")
    text = f"policy {decision.policy} keeps {points - decision.expired} of {human_count(points, 'restore point')}"
    if manual:
        text += f"; {manual} that it did not create stay"
    if rejected:
        text += f"; the others can't be deleted: {rejected}"
        return RetentionReport(points, decision.expired, RetentionReason.DELETION_REJECTED, text)
    immutable = [name for name, fate in decision.fates.items() if fate.held_by is Hold.IMMUTABLE]
    if immutable and decision.held_until is not None:
        # Nothing is in the way of the rules: it is deleted when its time is over, without anybody's action.
        text += f"; no rule keeps {human_list(immutable)}, immutable until {utc_stamp(decision.held_until)} or later"
    held = {name: fate.held_by for name, fate in decision.fates.items() if fate.held_by not in (None, Hold.IMMUTABLE)}
    if not held:
        return RetentionReport(points, decision.expired, RetentionReason.APPLIED, text)
    first = next(iter(held.values()))
    names = human_list([name for name, hold in held.items() if hold is first])
    text += f"; no rule keeps {names}. {_WHY[first]}"
    return RetentionReport(points, decision.expired, _REASONS[first], text)


def with_retention(
    old: conditions.Conditions, report: RetentionReport | None, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """Return the conditions with what retention says; without a retention it says nothing."""
    if report is None:
        return conditions.without(old, conditions.RETENTION)
    return conditions.with_aspect(
        old,
        conditions.RETENTION,
        report.is_applied,
        report.reason,
        report.message,
        generation=generation,
        now=now,
    )
