"""What a scan concludes about Backups, and what it never concludes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import at, condition, stamp, uid_of

from sendense_operator.api.v1alpha1 import names
from sendense_operator.catalogue_format import ChainRecord, PointRecord, Record, RootRecord
from sendense_operator.reconcile.catalogue.decisions import (
    ScanVerdict,
    decide_adoptions,
    is_missing,
    judge_backup,
    sort_records,
)
from sendense_operator.reconcile.catalogue.known_backups import known_backup
from sendense_operator.reconcile.state.records import KnownBackup, ScanResult
from sendense_operator.vm_hardware import Hardware

TAKEN = 1000.0
"""When the scan began, in seconds after noon."""
UID = uid_of("Backup", "b1")


def point(name: str = "b1", *, vm: str = "db", finished: float = 60, **more: Any) -> PointRecord:
    given: dict[str, Any] = {"started": at(0), "job_id": "backup-x", "disks": (), **more}
    return PointRecord(
        vm=vm,
        backup=name,
        backup_uid=uid_of("Backup", name),
        manifest=f"shop/{vm}/backups/{name}.json",
        finished=at(finished),
        **given,
    )


def reported(*records: Record, root: RootRecord | None = RootRecord()) -> ScanResult:  # noqa: B008 - frozen
    return sort_records([*records, *([root] if root else [])], at(TAKEN), [])


def backup(phase: str = "Completed", *, ended: float = 60, damage: str = "", **meta: Any) -> Obj:
    conditions = [condition("Damaged", "Unreadable", damage)] if damage else []
    obj = sample.backup("b1", {"phase": phase, "completionTime": stamp(ended), "conditions": conditions})
    return {**obj, "metadata": {**obj["metadata"], **meta}}


def test_what_is_kept_of_a_backup() -> None:
    plain = KnownBackup("b1", UID, UID, "db", "Completed", False, at(60), "", None, at(0), has_hardware=False)
    assert known_backup(backup()) == plain
    assert known_backup(backup(damage="bytes")) == replace(plain, damage="bytes")
    assert known_backup(backup(deletionTimestamp=stamp())).is_deleting
    described = backup()
    described["status"]["hardware"] = {"processors": 2}
    assert known_backup(described) == replace(plain, has_hardware=True)
    assert known_backup(sample.backup("b1")) == replace(plain, phase="", ended=None)


def test_what_is_kept_of_an_adopted_one() -> None:
    obj = sample.backup("b1", adopt={"uid": uid_of("elsewhere")}, age=5)
    obj["metadata"]["labels"] = {names.LABEL_ADOPTED: "true"}
    known = known_backup(obj)
    assert (known.uid, known.point_uid, known.adopted) == (UID, uid_of("elsewhere"), at(5))


@pytest.mark.parametrize(
    ("obj", "records", "verdict"),
    [
        (backup(), [point(), ChainRecord(vm="db")], None),
        (backup(), [ChainRecord(vm="db")], ScanVerdict.LOST),
        (backup(), [], ScanVerdict.LOST),
        (backup(deletionTimestamp=stamp()), [], None),
        (backup("Running"), [], None),
        (backup(ended=TAKEN), [], None),
        (backup(), [ChainRecord(vm="db", complete=False)], None),
        (backup(), [ChainRecord(vm="db", newer=1)], None),
        (backup(), [ChainRecord(vm="db", busy=True)], None),
        (backup(), [ChainRecord(vm="db", busy=True, unreadable=1)], None),
        (backup(), [ChainRecord(vm="db", unreadable=1)], ScanVerdict.DAMAGED),
        (backup(), [point(damage="chunk 3")], ScanVerdict.DAMAGED),
        (backup(damage="chunk 3"), [point(damage="chunk 3")], None),
        (backup(damage="chunk 3"), [point()], ScanVerdict.SOUND),
        *((backup(phase), [point()], ScanVerdict.FOUND) for phase in ("Lost", "Failed", "Cancelled")),
        (backup("Failed"), [], None),
    ],
)
def test_a_verdict(obj: Obj, records: list[Record], verdict: ScanVerdict | None) -> None:
    found = list(judge_backup(reported(*records), [known_backup(obj)]))
    assert [one.verdict for one in found] == ([verdict] if verdict else [])
    assert all((one.name, one.uid, one.vm) == ("b1", UID, "db") for one in found)


@pytest.mark.parametrize(("chain", "missing"), [({}, True), ({"busy": True}, False), ({"unreadable": 1}, False)])
def test_what_is_missing_for_an_adopting_backup(chain: dict[str, Any], missing: bool) -> None:
    obj = sample.backup("b1", adopt={"uid": uid_of("Backup", "gone")}, age=5)
    assert is_missing(reported(point(), ChainRecord(vm="db", **chain)), obj, "db") is missing


@pytest.mark.parametrize("root", [None, RootRecord(complete=False)])
def test_nothing_is_lost_by_half_a_listing(root: RootRecord | None) -> None:
    assert list(judge_backup(reported(ChainRecord(vm="web"), root=root), [known_backup(backup())])) == []


def test_what_is_known_removed_or_retained_is_not_adopted() -> None:
    listed = reported(*(point(f"b{number}", finished=number) for number in (3, 2, 1, 0)))
    known = [known_backup(sample.backup("b1")), known_backup(sample.backup("x", adopt={"uid": uid_of("Backup", "b2")}))]
    removed = frozenset({uid_of("Backup", "b3")})
    assert [one.backup for one in decide_adoptions(listed, known, removed)] == ["b0"]
    assert [one.backup for one in decide_adoptions(listed, [], frozenset())] == ["b0", "b1", "b2", "b3"]
    assert list(decide_adoptions(reported(point(), root=None), [], frozenset())) == []


@pytest.mark.parametrize(
    ("known", "hardware", "verdicts"),
    [
        (False, Hardware(processors=2), [ScanVerdict.OUTDATED]),
        (True, Hardware(processors=2), []),
        (False, None, []),
    ],
)
def test_hardware_that_the_status_lacks(known: bool, hardware: Hardware | None, verdicts: list[ScanVerdict]) -> None:
    there = replace(known_backup(backup()), has_hardware=known)
    found = judge_backup(reported(ChainRecord(vm="db", points=1), point(hardware=hardware)), [there])
    assert [judgement.verdict for judgement in found] == verdicts
