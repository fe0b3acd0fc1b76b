"""Which restore point a Restore gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1.restore import RestoreSource
from sendense_operator.reconcile.restores.restore_source import (
    Candidate,
    SourcePoint,
    decide_disks,
    decide_named,
    decide_newest,
)
from sendense_operator.reconcile.state.problem import Meaning, Problem

REFS = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
DISKS = [{"id": index, "key": 2000 + index, "virtualSize": sample.GIB, "depth": 3} for index in range(2)]


def completed(name: str = "b1", *, minutes: int = 0, **status: Any) -> Obj:
    fields = {"phase": "Completed", "completionTime": sample.stamp(60 * minutes), "disks": DISKS, **status}
    return sample.backup(name, fields)


def source(**fields: Any) -> RestoreSource:
    return RestoreSource.model_validate({**REFS, **fields})


def candidate(minutes: int, *, damaged: bool = False) -> Candidate:
    backup = completed(f"b{minutes}", minutes=minutes)
    return Candidate(sample.at(60 * minutes), f"b{minutes}", damaged, backup)


@pytest.mark.parametrize(
    ("backup", "reason", "meaning"),
    [
        (None, "BackupNotFound", Meaning.WAIT),
        (sample.backup(), "BackupNotReady", Meaning.WAIT),
        (sample.backup("b1", {"phase": "Running"}), "BackupNotReady", Meaning.WAIT),
        (sample.backup("b1", {"phase": "Failed"}), "NotARestorePoint", Meaning.FINAL),
        (sample.backup("b1", {"phase": "Cancelled"}), "NotARestorePoint", Meaning.FINAL),
        (sample.backup("b1", {"phase": "Lost"}), "RestorePointLost", Meaning.FINAL),
        (sample.deleting(completed()), "BackupDeleted", Meaning.FINAL),
    ],
)
def test_a_backup_that_is_no_restore_point(backup: Obj | None, reason: str, meaning: Meaning) -> None:
    found = decide_named("b1", backup)
    assert isinstance(found, Problem)
    assert (found.reason, found.meaning) == (reason, meaning)
    assert "b1" in found.message


def test_a_deleted_backup_is_one_while_it_is_immutable() -> None:
    fields: dict[str, Any] = {
        "phase": "Deleting",
        "conditions": [sample.condition("Ready", "RetainedUntil", status="False")],
    }
    waiting = sample.deleting(completed(**fields))
    assert decide_named("b1", waiting) is waiting


def test_a_backup_that_is_one() -> None:
    assert decide_named("b1", completed()) == completed()


points = st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=20, unique_by=lambda point: point[0])


@given(points, st.none() | st.integers(-10, 1010), st.booleans())
def test_the_newest_undamaged_one_that_was_complete_in_time(
    known: list[tuple[int, bool]], limit: int | None, allow: bool
) -> None:
    at = {} if limit is None else {"at": sample.stamp(60 * limit)}
    found = decide_newest(source(**at), [candidate(m, damaged=d) for m, d in known], allow_damaged=allow)
    in_time = [(m, d) for m, d in known if limit is None or m <= limit]
    sound = [m for m, d in in_time if not d]
    expected = max(sound or [m for m, _ in in_time if allow], default=None)
    if expected is not None:
        assert not isinstance(found, Problem)
        assert found["metadata"]["name"] == f"b{expected}"
    else:
        assert isinstance(found, Problem)
        assert found.reason == ("AllDamaged" if in_time else "NoRestorePoint")


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ("Latest", "b9"),
        ("2025-10-05T12:05:00Z", "b5"),
        ("2025-10-05T14:05:00+02:00", "b5"),
        ("2025-10-05T12:05:00.5Z", "b5"),
    ],
)
def test_times_with_zone_and_fraction(at: str, name: str) -> None:
    assert sample.NOON + timedelta(minutes=5) == sample.at(300)
    found = decide_newest(source(at=at), [candidate(5), candidate(9)], allow_damaged=False)
    assert not isinstance(found, Problem)
    assert found["metadata"]["name"] == name


@pytest.mark.parametrize(("wanted", "given_disks"), [([], [0, 1]), ([1], [1]), ([1, 0], [0, 1])])
def test_disks(wanted: list[int], given_disks: list[int]) -> None:
    found = decide_disks(source(disks=wanted), completed())
    assert isinstance(found, SourcePoint)
    assert [disk.index for disk in found.disks] == given_disks
    point = found.point
    assert (point.backup_name, point.vm_name, point.repository_name) == ("b1", "db", "store")
    assert point.uid == sample.uid_of("Backup", "b1")


def test_the_uid_is_that_of_the_restore_point() -> None:
    """An adopted Backup has another UID than the restore point in the repository."""
    uid = "0a000000-0000-4000-8000-000000000000"
    found = decide_disks(source(), {**completed(), "spec": {**REFS, "adopt": {"uid": uid}}})
    assert isinstance(found, SourcePoint)
    assert found.point.uid == uid


def test_a_disk_that_is_not_there() -> None:
    found = decide_disks(source(disks=[1, 7]), completed())
    assert isinstance(found, Problem)
    assert found.message == "spec.source.disks: Backup b1 has no disk 7; it has 0, 1"
