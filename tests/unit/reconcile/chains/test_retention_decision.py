"""What a policy's retention makes of a chain's restore points."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.sample import NOON, at

from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, Hold, KeepRule, PointState, RestorePoint
from sendense_operator.api.v1alpha1.backuppolicy import Retention
from sendense_operator.cluster.object_names import policy_backup_name, run_digest
from sendense_operator.formatting import utc_stamp
from sendense_operator.reconcile.chains.retention_decision import (
    RetentionDecision,
    RetentionFacts,
    RetentionPoint,
    decide_retention,
    report_of,
    with_retention,
)
from sendense_operator.reconcile.protection.retention_reports import RetentionReason
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.task import BackupType


def point(name: str, seconds: float, **more: Any) -> RetentionPoint:
    fields: dict[str, Any] = {"policy": "nightly", "state": PointState.AVAILABLE, "retained": False}
    return RetentionPoint(name=name, completed=at(seconds), taken=at(seconds), **(fields | more))


def facts(*, repository_retains: bool = False, suspended: bool = False, **retention: Any) -> RetentionFacts:
    rules = Retention.model_validate({"keepLast": 1, **retention})
    policy = PolicyEntry("u", "shop", "nightly", NOON, 1, suspended=suspended, retention=rules)
    return RetentionFacts("db", policy, repository_retains)


def decide(
    *points: RetentionPoint, old: BackupChainStatus | None = None, rules: RetentionFacts | None = None
) -> RetentionDecision:
    found = decide_retention(points, old or BackupChainStatus(), rules or facts(), at(500))
    assert found is not None
    return found


def test_the_oldest_expired_goes_first() -> None:
    found = decide(point("a", 1), point("b", 2), point("c", 3))
    assert (found.to_delete, found.expired) == (["a", "b"], 2)
    assert found.fates["c"].kept_by == (KeepRule.LAST,)
    assert found.fates["a"].expired_since == at(500)
    assert report_of(found, "").reason is RetentionReason.APPLIED


def test_since_when_one_is_to_go_is_remembered() -> None:
    listed = RestorePoint(backup="a", time=at(1), type=BackupType.FULL, expired_since=at(99))
    found = decide(point("a", 1), point("b", 2), old=BackupChainStatus(restore_points=[listed]))
    assert found.fates["a"].expired_since == at(99)


@pytest.mark.parametrize(
    ("rules", "own", "hold", "reason"),
    [
        ({"dryRun": True}, False, Hold.DRY_RUN, RetentionReason.DRY_RUN),
        ({"suspended": True}, False, Hold.SUSPENDED, RetentionReason.SUSPENDED),
        ({"repository_retains": True}, False, Hold.RETAIN, RetentionReason.FILES_RETAINED),
        ({}, True, Hold.RETAIN, RetentionReason.FILES_RETAINED),
    ],
)
def test_what_holds_an_expired_one(rules: dict[str, Any], own: bool, hold: Hold, reason: RetentionReason) -> None:
    found = decide(point("a", 1, retained=own), point("b", 2), rules=facts(**rules))
    assert (found.to_delete, found.expired, found.fates["a"].held_by) == ([], 1, hold)
    report = report_of(found, "")
    assert report.reason is reason
    assert "no rule keeps a." in report.message


def test_an_immutable_one_is_held_until_its_time() -> None:
    """Nobody has to do anything, so the rules count as applied."""
    points = [point("a", 1, immutable_until=at(900)), point("b", 2, immutable_until=at(700)), point("c", 3)]
    found = decide(*points)
    assert (found.to_delete, found.expired) == ([], 2)
    assert {name: fate.held_by for name, fate in found.fates.items()} == {
        "a": Hold.IMMUTABLE,
        "b": Hold.IMMUTABLE,
        "c": None,
    }
    assert found.held_until == at(700)
    report = report_of(found, "")
    assert report.reason is RetentionReason.APPLIED
    assert f"no rule keeps a, b, immutable until {utc_stamp(at(700))} or later" in report.message
    over = decide(point("a", 1, immutable_until=at(400)), point("b", 2))
    assert (over.to_delete, over.held_until) == (["a"], None)


def test_what_somebody_has_to_change_is_said_first() -> None:
    held = [point("a", 1, immutable_until=at(900)), point("b", 2, retained=True), point("c", 3)]
    report = report_of(decide(*held), "")
    assert report.reason is RetentionReason.FILES_RETAINED
    assert "no rule keeps b." in report.message
    assert decide(*held, rules=facts(suspended=True)).fates["a"].held_by is Hold.SUSPENDED


def test_points_of_others_are_neither_counted_nor_deleted() -> None:
    found = decide(point("hand", 1, policy=None), point("a", 2), point("weekly", 3, policy="weekly"))
    assert found.to_delete == []
    assert {name: fate.kept_by for name, fate in found.fates.items()} == {
        "hand": (KeepRule.MANUAL,),
        "a": (KeepRule.LAST,),
        "weekly": (KeepRule.MANUAL,),
    }
    assert "2 that it did not create stay" in report_of(found, "").message


def test_all_points_count_if_the_policy_says_so() -> None:
    found = decide(point("hand", 1, policy=None), point("a", 2), rules=facts(includeManual=True))
    assert found.to_delete == ["hand"]


@pytest.mark.parametrize("run", ["202611270300", run_digest("x")])
def test_an_adopted_point_of_the_policy_is_known_by_its_name(run: str) -> None:
    """A manifest names no policy: after a cluster was lost, the name is all that tells."""
    mine = policy_backup_name("db", "nightly", run)
    others = [policy_backup_name("db", "weekly", run), policy_backup_name("web", "nightly", run), f"{mine}-2", "x"]
    found = decide(*(point(name, n, policy=None) for n, name in enumerate([mine, *others])), point("new", 99))
    assert found.to_delete == [mine]


def test_a_lost_one_is_left_alone() -> None:
    found = decide(point("lost", 1, state=PointState.LOST), point("a", 2), point("b", 3, state=PointState.LOST))
    assert found.to_delete == []
    assert report_of(found, "").points == 1


def test_days_are_those_on_which_backups_began() -> None:
    """One that ends after midnight is not taken for the next day's."""
    evening, day = -13 * 3600, 24 * 3600  # 23:00 the day before NOON's, by UTC
    late = point("late", evening + 7200)
    early = RetentionPoint("early", at(evening + day), at(evening + day), PointState.AVAILABLE, "nightly", False)
    begun = RetentionPoint("late", late.completed, at(evening), PointState.AVAILABLE, "nightly", False)
    rules = facts(keepLast=None, keepDaily=2)
    assert decide(begun, early, rules=rules).to_delete == []
    assert decide(late, early, rules=rules).to_delete == ["late"]


def test_an_unknown_zone_deletes_nothing() -> None:
    found = decide(point("a", 1), point("b", 2), rules=facts(timeZone="Mars/Phobos"))
    assert (found.to_delete, found.expired) == ([], 0)
    report = report_of(found, "")
    assert report.reason is RetentionReason.INVALID
    assert report.message.startswith("retention.timeZone Mars/Phobos: there is no such")


def test_what_the_api_server_rejects_is_said() -> None:
    report = report_of(decide(point("a", 1), point("b", 2)), "denied by webhook")
    assert report.reason is RetentionReason.DELETION_REJECTED
    assert "denied by webhook" in report.message


def test_no_retention_no_condition() -> None:
    policy = PolicyEntry("u", "shop", "nightly", NOON, 1)
    assert decide_retention([], BackupChainStatus(), RetentionFacts("db", policy, False), NOON) is None
    before = with_retention([], report_of(decide(point("a", 1)), ""), generation=1, now=NOON)
    assert [(c["type"], c["status"], c["reason"]) for c in before] == [("Retention", "True", "Applied")]
    assert with_retention(before, None, generation=1, now=NOON + timedelta(1)) == []
