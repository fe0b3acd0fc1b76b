"""The latest report of each chain, by the policy that rules it."""

from __future__ import annotations

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.protection.chain_reports import ChainReports
from sendense_operator.reconcile.protection.retention_reports import (
    RetentionReason,
    RetentionReport,
)
from sendense_operator.reconcile.state.keys import ChainKey

DB, WEB = ChainKey("db", "store"), ChainKey("web", "store")
ONE, TWO = (RetentionReport(count, 0, RetentionReason.APPLIED) for count in (1, 2))
NIGHTLY, WEEKLY = ObjectKey("shop", "nightly"), ObjectKey("shop", "weekly")


def test_only_a_change_is_reported() -> None:
    reports = ChainReports[RetentionReport]()
    assert reports.put("shop", DB, "nightly", ONE) == [NIGHTLY]
    assert reports.put("shop", DB, "nightly", ONE) == []
    assert reports.put("shop", DB, "nightly", TWO) == [NIGHTLY]
    assert reports.put("shop", WEB, "nightly", ONE) == [NIGHTLY]
    assert reports.of(NIGHTLY) == {DB: TWO, WEB: ONE}
    assert reports.of(ObjectKey("other", "nightly")) == {}


def test_a_chain_that_another_policy_rules_now() -> None:
    reports = ChainReports[RetentionReport]()
    reports.put("shop", DB, "nightly", ONE)
    assert reports.put("shop", DB, "weekly", ONE) == [NIGHTLY, WEEKLY]
    assert (reports.of(NIGHTLY), reports.of(WEEKLY)) == ({}, {DB: ONE})


def test_a_chain_that_no_policy_rules_any_more() -> None:
    reports = ChainReports[RetentionReport]()
    reports.put("shop", DB, "nightly", ONE)
    assert reports.put("shop", DB, None, None) == [NIGHTLY]
    assert reports.put("shop", DB, None, None) == []
    assert reports.of(NIGHTLY) == {}
    assert (reports._policies, reports._chains) == ({}, {})
