"""What a chain says of its verification: the worst first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.sample import NOON
from tests.unit.reconcile.verification.test_verified_points import DAY, point, rules

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupVerification
from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.api.v1alpha1.backuppolicy import ScheduleStatus
from sendense_operator.reconcile.protection.verification_reports import VerificationReason
from sendense_operator.reconcile.verification.chain_aspect import report_of, with_verification
from sendense_operator.reconcile.verification.verified_points import VerifiedPoint
from sendense_operator.task import VerificationLevel

NOW = NOON + DAY * 50
SLOT = ScheduleStatus(name="verification", since=NOON + DAY * 49, slot=NOON + DAY * 49)
CHECKED = replace(point("checked", 1), known=BackupVerification(time=NOON, structure_time=NOON))


@pytest.mark.parametrize(
    ("points", "holds", "reason"),
    [
        ([point("a", 1, 40), point("b", 2, 45)], True, VerificationReason.CONTENT),
        ([point("a", 1, 40), point("new", 49.5)], True, VerificationReason.CONTENT),
        ([point("a", 1, 40), point("never", 2)], None, VerificationReason.NOT_VERIFIED),
        ([point("a", 1, 10), point("never", 2)], False, VerificationReason.OVERDUE),
        ([point("a", 1, 10), point("bad", 2, is_damaged=True)], False, VerificationReason.DAMAGED),
        ([point("new", 49.5)], None, VerificationReason.NOT_VERIFIED),
        ([], None, VerificationReason.NOT_VERIFIED),
    ],
)
def test_the_worst_comes_first(points: list[VerifiedPoint], holds: bool | None, reason: VerificationReason) -> None:
    report = report_of(points, ChainVerification(schedule=SLOT), rules(), NOW)
    assert report is not None
    assert (report.holds, report.reason) == (holds, reason)


def test_a_failure_is_said_although_all_were_verified_once() -> None:
    state = ChainVerification(schedule=SLOT, problem="StorageError: stale file handle")
    report = report_of([point("a", 1, 40)], state, rules(), NOW)
    assert report is not None
    assert (report.holds, report.reason, report.message) == (False, VerificationReason.FAILED, state.problem)


def test_the_weakest_level_counts() -> None:
    structure = rules(level=VerificationLevel.STRUCTURE)
    report = report_of([CHECKED, point("read", 1, 40)], ChainVerification(schedule=SLOT), structure, NOW)
    assert report is not None
    assert (report.holds, report.reason) == (True, VerificationReason.STRUCTURE)


def test_nothing_is_said_where_nothing_was_required() -> None:
    assert report_of([point("a", 1)], ChainVerification(), None, NOW) is None
    report = report_of([point("a", 1, 40)], ChainVerification(), None, NOW)
    assert report is not None
    assert report.reason is VerificationReason.CONTENT


def test_the_condition_goes_with_what_required_it() -> None:
    report = report_of([point("a", 1, 40)], ChainVerification(schedule=SLOT), rules(), NOW)
    made = with_verification([], report, generation=2, now=NOW)
    assert conditions.is_true(made, conditions.VERIFIED)
    assert with_verification(made, None, generation=2, now=NOW + timedelta(hours=1)) == []
