"""A policy's verification: the sum of its chains, and the worst of them."""

from __future__ import annotations

import pytest
from tests.support.sample import NOON

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, Verification
from sendense_operator.api.v1alpha1.base import LocalRef
from sendense_operator.reconcile.policies.verification_summary import (
    summarize_verification,
    with_verification_summary,
)
from sendense_operator.reconcile.protection.verification_reports import VerificationReason, VerificationReport
from sendense_operator.reconcile.state.keys import ChainKey

RULES = Verification(schedule="0 18 * * *")
SPEC = BackupPolicySpec(vm_refs=[LocalRef(name="db")], repository_ref=LocalRef(name="store"), verification=RULES)
HOLDS = {VerificationReason.CONTENT: True, VerificationReason.STRUCTURE: True, VerificationReason.NOT_VERIFIED: None}


def report(reason: VerificationReason, points: int = 3, damaged: int = 0) -> VerificationReport:
    verified = points - damaged if HOLDS.get(reason) else 0
    return VerificationReport(
        points, verified, damaged, False, NOON, HOLDS.get(reason, False), reason, f"it is {reason}"
    )


def test_the_counts() -> None:
    reports = {
        ChainKey("a", "store"): report(VerificationReason.CONTENT),
        ChainKey("b", "store"): report(VerificationReason.DAMAGED, damaged=1),
    }
    summary = summarize_verification(SPEC, reports, NOON)
    assert summary is not None
    assert (summary.restore_points, summary.verified, summary.damaged, summary.last_time) == (6, 3, 1, NOON)
    assert summary.next_time == NOON.replace(hour=18)
    assert summarize_verification(SPEC.model_copy(update={"verification": None}), reports, NOON) is None


@pytest.mark.parametrize(
    ("reasons", "worst"),
    [
        (["ContentVerified", "Damaged", "VerificationFailed"], "Damaged"),
        (["ContentVerified", "VerificationOverdue", "NotVerified"], "VerificationOverdue"),
        (["ContentVerified", "NotVerified"], "NotVerified"),
        (["ContentVerified", "StructureVerified"], "StructureVerified"),
        (["ContentVerified"], "ContentVerified"),
        ([], "NotVerified"),
    ],
)
def test_the_worst_chain_speaks_for_the_policy(reasons: list[str], worst: str) -> None:
    reports = {
        ChainKey(f"vm{number}", "store"): report(VerificationReason(reason)) for number, reason in enumerate(reasons)
    }
    (condition,) = with_verification_summary([], RULES, reports, generation=1, now=NOON)
    assert condition["reason"] == worst
    if worst in ("Damaged", "VerificationOverdue"):
        assert "vm1" in condition["message"]


def test_a_chain_without_restore_points_says_nothing() -> None:
    reports = {
        ChainKey("a", "store"): report(VerificationReason.CONTENT),
        ChainKey("new", "store"): report(VerificationReason.NOT_VERIFIED, points=0),
    }
    assert conditions.is_true(
        with_verification_summary([], RULES, reports, generation=1, now=NOON), conditions.VERIFIED
    )


def test_a_schedule_that_can_not_be_read() -> None:
    wrong = RULES.model_copy(update={"time_zone": "Mars/Olympus"})
    (condition,) = with_verification_summary([], wrong, {}, generation=1, now=NOON)
    assert (condition["reason"], condition["status"]) == ("InvalidVerification", "False")
    assert "Mars/Olympus" in condition["message"]
