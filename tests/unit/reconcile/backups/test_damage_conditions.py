"""The conditions Damaged and Verified of a Backup agree, whichever proof spoke last."""

from __future__ import annotations

from datetime import timedelta

from tests.support.sample import NOON

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupVerification
from sendense_operator.reconcile.backups.damage_conditions import with_damage, with_proof

READ = BackupVerification(time=NOON, structure_time=NOON, content_time=NOON)


def reasons(found: conditions.Conditions) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def test_damage_takes_the_proof_back() -> None:
    proven = with_proof([], READ, generation=1, now=NOON)
    assert reasons(proven) == {"Verified": ("True", "ContentVerified")}
    assert "2025-10-05T12:00:00Z" in proven[0]["message"]
    damaged = with_damage(proven, "disk 0 is damaged", generation=1, now=NOON)
    assert reasons(damaged) == {"Damaged": ("True", "Unreadable"), "Verified": ("False", "Damaged")}


def test_a_proof_takes_the_damage_back() -> None:
    damaged = with_damage([], "disk 0 is damaged", generation=1, now=NOON)
    assert reasons(with_proof(damaged, READ, generation=1, now=NOON)) == {"Verified": ("True", "ContentVerified")}


def test_a_scan_that_finds_no_damage_leaves_a_proof_alone() -> None:
    proven = with_proof([], READ, generation=1, now=NOON)
    assert with_damage(proven, "", generation=1, now=NOON) == proven
    damaged = with_damage(proven, "disk 0 is damaged", generation=1, now=NOON)
    assert with_damage(damaged, "", generation=1, now=NOON) == []


def test_what_was_only_checked_says_so() -> None:
    checked = BackupVerification(time=NOON, structure_time=NOON)
    (condition,) = with_proof([], checked, generation=1, now=NOON)
    assert condition["reason"] == "StructureVerified"
    assert "never read" in condition["message"]
    later = BackupVerification(time=NOON, structure_time=NOON + timedelta(days=1), content_time=NOON)
    (condition,) = with_proof([], later, generation=1, now=NOON)
    assert condition["reason"] == "ContentVerified"
    assert "2025-10-06T12:00:00Z" in condition["message"]
