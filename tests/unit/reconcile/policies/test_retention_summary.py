"""What a policy's status says of its retention."""

from __future__ import annotations

import pytest
from tests.support.sample import NOON

from sendense_operator.api.v1alpha1.backuppolicy import Retention
from sendense_operator.reconcile.policies.retention_summary import summarize, with_retention_summary
from sendense_operator.reconcile.protection.retention_reports import RetentionReason, RetentionReport
from sendense_operator.reconcile.state.keys import ChainKey

RULES = Retention(keep_last=3)


def reports(*found: RetentionReport) -> dict[ChainKey, RetentionReport]:
    return {ChainKey(f"vm{number}", "store"): report for number, report in enumerate(found)}


def applied(points: int, expired: int = 0) -> RetentionReport:
    return RetentionReport(points, expired, RetentionReason.APPLIED, "fine")


def held(reason: RetentionReason) -> RetentionReport:
    return RetentionReport(4, 1, reason, f"held by {reason}")


def said(retention: Retention | None, *found: RetentionReport) -> tuple[str, str, str] | None:
    conditions = with_retention_summary([], retention, reports(*found), generation=1, now=NOON)
    return next(((c["status"], c["reason"], c["message"]) for c in conditions), None)


def test_counts_of_all_chains() -> None:
    summary = summarize(reports(applied(3), applied(5, 2)))
    assert (summary.restore_points, summary.expired) == (8, 2)
    assert said(RULES, applied(3), applied(5, 2)) == ("True", "Applied", "6 of 8 restore points are kept")


def test_nothing_is_known_yet() -> None:
    found = said(RULES)
    assert found is not None
    assert found[:2] == ("Unknown", "NotChecked")


@pytest.mark.parametrize("reason", [r for r in RetentionReason if r is not RetentionReason.APPLIED])
def test_what_is_in_the_way_of_most_chains(reason: RetentionReason) -> None:
    other = held(next(r for r in RetentionReason if r not in (reason, RetentionReason.APPLIED)))
    found = said(RULES, applied(3), held(reason), other, held(reason))
    assert found == ("False", reason.value, f"2 chains (vm1, vm3): held by {reason}")


def test_a_zone_that_there_is_not_is_said_before_any_chain_is_checked() -> None:
    found = said(Retention(keep_last=3, time_zone="Mars/Phobos"))
    assert found is not None
    assert found[:2] == ("False", "InvalidRetention")


def test_without_a_retention_there_is_no_condition() -> None:
    before = with_retention_summary([], RULES, reports(applied(1)), generation=1, now=NOON)
    assert before
    assert with_retention_summary(before, None, {}, generation=1, now=NOON) == []
