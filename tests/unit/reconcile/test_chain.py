"""A chain's status, counted from its Completed Backups."""

from __future__ import annotations

import random

import pytest
from tests.support import sample
from tests.support.sample import GIB, NOON, Obj, at, stamp

from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.reconcile.chain import chain_status
from sendense_operator.task import BackupType


def point(name: str, seconds: float, *types: str, stored: int = GIB) -> Obj:
    disks = [
        {"id": i, "key": 2000 + i, "virtualSize": 8 * GIB, "type": kind} for i, kind in enumerate(types or ("Full",))
    ]
    done = {"phase": "Completed", "completionTime": stamp(seconds), "storedBytes": stored, "disks": disks}
    return sample.backup(name, done)


def status(*backups: Obj, old: BackupChainStatus | None = None) -> BackupChainStatus:
    return chain_status(old or BackupChainStatus(), backups, generation=1, now=NOON)


def test_points_are_in_the_order_of_their_commits() -> None:
    backups = [point("c", 3), point("a", 1), point("b", 2, stored=GIB // 2)]
    random.Random(1).shuffle(backups)
    found = status(*backups)
    assert [p.backup for p in found.restore_points] == ["a", "b", "c"]
    assert (found.points, found.latest_backup, found.latest_time) == (3, "c", at(3))
    assert (found.stored_bytes, found.stored, found.virtual_bytes) == (5 * GIB // 2, "2.5 GiB", 8 * GIB)
    assert [(c.type, c.reason) for c in found.conditions] == [("Ready", "Protected")]


def test_without_points_it_protects_nothing() -> None:
    found = status(old=status(point("a", 1)))
    assert (found.points, found.latest_backup, found.latest_time, found.restore_points) == (0, None, None, [])
    assert [(c.type, c.reason) for c in found.conditions if c.type == "Ready"] == [("Ready", "NoRestorePoints")]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("Full",), BackupType.FULL),
        (("Incremental", "Incremental"), BackupType.INCREMENTAL),
        (("Incremental", "Full"), BackupType.FULL),
    ],
)
def test_type_of_a_point(types: tuple[str, ...], expected: BackupType) -> None:
    assert status(point("a", 1, *types)).restore_points[0].type is expected


def test_of_very_many_the_newest_are_listed_and_all_are_counted() -> None:
    found = status(*(point(f"b{number:04}", number) for number in range(1003)))
    assert (found.points, len(found.restore_points), found.restore_points[0].backup) == (1003, 1000, "b0003")
    BackupChainStatus.model_validate(found.to_dict())


def test_the_same_again_is_equal() -> None:
    once = status(point("a", 1))
    assert chain_status(once, [point("a", 1)], generation=1, now=at(99)) == once
