"""Deleted Backups: whose files are removed, and what the chain says until they are gone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import at, stamp, uid_of

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec
from sendense_operator.api.v1alpha1.backupchain import MAX_WAITING, RemovalState, RemovedPoint, RestorePoint
from sendense_operator.catalogue_format import ChainRecord, PointRecord, TombstoneRecord
from sendense_operator.reconcile.catalogue.removal import (
    Kept,
    decide_removal,
    describe_freed,
    freed_points,
    is_leaving,
    is_out_of_reach,
    merge_removed,
    removal_of,
    room_for,
)
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.task import BackupType

GUARD = Kept("namespace shop is being deleted", warning=True)
REPOSITORY = sample.repository()
GOING = {"deletionTimestamp": stamp(5)}
PENDING, NEEDED, RETAINED = RemovalState.PENDING, RemovalState.NEEDED, RemovalState.RETAINED


def backup(*finalizers: str, going: bool = True, status: Obj | None = None, **spec: Any) -> Obj:
    obj = sample.backup("b1", status, **spec)
    more = {"finalizers": list(finalizers), **(GOING if going else {})}
    return {**obj, "metadata": {**obj["metadata"], **more}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (backup(names.FINALIZER_RESTORE_POINT), True),
        (backup(names.FINALIZER_RESTORE_POINT, "someone/else"), True),
        (backup(names.FINALIZER_RESTORE_POINT, names.FINALIZER), False),
        (backup("someone/else"), False),
        (backup(names.FINALIZER_RESTORE_POINT, going=False), False),
    ],
)
def test_its_worker_comes_first(obj: Obj, expected: bool) -> None:
    assert is_leaving(obj) is expected


@pytest.mark.parametrize(
    ("own", "default", "repository", "guard", "kept"),
    [
        (None, "Delete", True, None, ""),
        ("Delete", "Delete", True, None, ""),
        ("Delete", "Retain", True, None, "Retain"),
        ("Retain", "Retain", True, None, "Retain"),
        ("Retain", "Delete", True, None, "Retain"),
        (None, "Retain", True, None, "Retain"),
        ("Retain", "Delete", True, GUARD, "Retain"),
        (None, "Delete", True, GUARD, "namespace"),
        (None, "Delete", False, None, "no BackupRepository store"),
        ("Retain", "Delete", False, None, "Retain"),
    ],
)
def test_kept_or_removed(own: str | None, default: str, repository: bool, guard: Kept | None, kept: str) -> None:
    obj = backup(deletionPolicy=own) if own else backup()
    spec = BackupSpec.model_validate(obj["spec"])
    found = decide_removal(spec, sample.repository(deletionPolicy=default) if repository else None, guard)
    assert (found is not None) is bool(kept)
    if found is not None:
        assert kept in found.message
        assert found.warning is (kept != "Retain")


def test_a_repository_that_goes_is_none() -> None:
    going = {**REPOSITORY, "metadata": {**REPOSITORY["metadata"], **GOING}}
    found = decide_removal(BackupSpec.model_validate(sample.backup()["spec"]), going, None)
    assert found is not None
    assert found.warning


def test_what_the_repository_is_reported() -> None:
    listed = RestorePoint(backup="b1", time=at(3), type=BackupType.INCREMENTAL, full="b0")
    found = removal_of(backup(status={"storedBytes": 7, "completionTime": stamp(3)}), [listed])
    assert (found.backup, found.uid, found.stored_bytes, found.since) == ("b1", uid_of("Backup", "b1"), 7, at(5))
    assert found.full == "b0"
    adopted = removal_of(backup(adopt={"uid": uid_of("older")}), [listed])
    assert adopted.full is None, "another one of that name"
    assert adopted.uid == uid_of("older"), "of the Backup that made it"


def removed(name: str = "b1", state: RemovalState = PENDING, since: float = 5, **more: Any) -> RemovedPoint:
    return RemovedPoint(backup=name, uid=f"uid-{name}", state=state, since=at(since), **more)


def tombstone(name: str = "b1", needed_by: str = "b2", stored_bytes: int = 3) -> TombstoneRecord:
    return TombstoneRecord(
        vm="db", backup=name, backup_uid=f"uid-{name}", stored_bytes=stored_bytes, needed_by=needed_by
    )


def record(name: str) -> PointRecord:
    return PointRecord(
        vm="db",
        backup=name,
        backup_uid=f"uid-{name}",
        manifest="m",
        started=at(0),
        finished=at(1),
        job_id="j",
        disks=(),
    )


def view(
    *tombstones: TombstoneRecord,
    points: tuple[str, ...] = (),
    asked: tuple[str, ...] = (),
    taken: float = 9,
    **chain: Any,
) -> ChainView:
    return ChainView(
        ChainRecord(vm="db", **chain),
        at(taken),
        {f"uid-{name}": record(name) for name in points},
        {found.backup_uid: found for found in tombstones},
        frozenset(f"uid-{name}" for name in asked),
    )


@pytest.mark.parametrize(
    ("old", "seen", "expected"),
    [
        pytest.param(removed(), None, PENDING, id="nothing was reported yet"),
        pytest.param(removed(), view(points=("b1",)), PENDING, id="it was not removed yet"),
        pytest.param(removed(), view(), PENDING, id="a pod that was not requested to remove it, so it may be newer"),
        pytest.param(removed(), view(asked=("b1",)), None, id="gone with all its files"),
        pytest.param(removed(), view(asked=("b1",), complete=False), PENDING, id="half a listing"),
        pytest.param(removed(), view(asked=("b1",), unreadable=1), PENDING, id="its manifest may be the one"),
        pytest.param(removed(), view(asked=("b1",), newer=1), PENDING, id="or one of a newer version"),
        pytest.param(removed(), view(asked=("b1",), busy=True), PENDING, id="a worker that was given up may commit it"),
        pytest.param(removed(), view(tombstone(), asked=("b1",)), NEEDED, id="others depend on it"),
        pytest.param(removed(state=NEEDED), view(tombstone()), NEEDED, id="they still do"),
        pytest.param(removed(state=NEEDED), view(), None, id="freed"),
        pytest.param(removed(state=NEEDED), view(complete=False), NEEDED, id="half a listing of it"),
        pytest.param(removed(state=NEEDED), view(busy=True), None, id="freed by who writes the chain"),
        pytest.param(removed(state=NEEDED), view(unreadable=1), NEEDED, id="its tombstone may be the one"),
        pytest.param(removed(state=NEEDED), view(taken=4), NEEDED, id="a word from before"),
        pytest.param(removed(state=NEEDED), view(points=("b1",)), PENDING, id="the volume was set back"),
        pytest.param(
            removed(), view(tombstone(), points=("b1",), asked=("b1",)), PENDING, id="removed, and committed once more"
        ),
        pytest.param(
            removed(state=RETAINED), view(tombstone(), points=("b1",)), RETAINED, id="retained, in spite of a tombstone"
        ),
        pytest.param(removed(state=RETAINED), None, RETAINED, id="retained, and nothing was reported yet"),
        pytest.param(removed(state=RETAINED), view(points=("b1",)), RETAINED, id="retained, and there"),
        pytest.param(removed(state=RETAINED), view(), None, id="retained, and gone all the same"),
        pytest.param(removed(state=RETAINED), view(complete=False), RETAINED, id="retained, and half a listing"),
        pytest.param(removed(state=RETAINED), view(newer=1), RETAINED, id="retained, and perhaps of a newer version"),
    ],
)
def test_what_is_left_of_a_removed_point(
    old: RemovedPoint, seen: ChainView | None, expected: RemovalState | None
) -> None:
    found = merge_removed([old], [], seen)
    assert [point.state for point in found] == ([expected] if expected else [])
    assert merge_removed(found, [], seen) == found, "the same again changes nothing"


def test_what_was_freed() -> None:
    """Whatever is dropped from the list for another reason is none of it."""
    old = [
        removed("gone", stored_bytes=5),
        removed("freed", NEEDED, stored_bytes=7),
        removed("needed", NEEDED, stored_bytes=9),
        removed("later", stored_bytes=9),
        removed("kept", RETAINED, stored_bytes=9),
        removed("never", stored_bytes=0),
    ]
    seen = view(tombstone("needed"), asked=("gone", "never"))
    assert [point.backup for point in freed_points(old, seen)] == ["gone", "freed"]
    assert freed_points(old, None) == []
    assert freed_points(merge_removed(old, [], seen), seen) == [], "it is reported once"


def test_what_is_reported_of_it() -> None:
    points = [removed(f"n{number}", stored_bytes=1 << 20) for number in range(7)]
    assert describe_freed(points[:1]) == "1 removed restore point is gone with all files, 1.0 MiB freed: n0"
    assert describe_freed(points).endswith("7.0 MiB freed: n0, n1, n2, n3, n4 and 2 more")


@pytest.mark.parametrize(
    ("point", "seen", "expected"),
    [
        (removed(), view(asked=("b1",), newer=1), True),
        (removed(), view(asked=("b1",), unreadable=1), True),
        (removed(), view(asked=("b1",)), False),
        (removed(), view(newer=1), False),
        (removed(), view(asked=("b1",), newer=1, complete=False), False),
        (removed(), view(asked=("b1",), points=("b1",), newer=1), False),
        (removed(state=NEEDED), view(asked=("b1",), newer=1), False),
        (removed(), None, False),
    ],
)
def test_what_no_pod_can_remove(point: RemovedPoint, seen: ChainView | None, expected: bool) -> None:
    assert is_out_of_reach(point, seen) is expected


def test_who_needs_it_is_reported() -> None:
    (found,) = merge_removed([removed(stored_bytes=1)], [], view(tombstone(stored_bytes=3), asked=("b1",)))
    assert (found.needed_by, found.stored_bytes, found.since) == ("b2", 3, at(5))
    (waits,) = merge_removed([found], [], view(tombstone(needed_by="")))
    assert waits.needed_by is None
    (odd,) = merge_removed([found], [], view(tombstone(needed_by="../x")))
    assert odd.needed_by is None


def test_tombstones_that_nobody_remembers_are_listed() -> None:
    found = merge_removed([], [], view(tombstone(), tombstone("Not a name")))
    assert [(point.backup, point.state, point.since) for point in found] == [("b1", NEEDED, at(9))]
    assert merge_removed(found, [], view(tombstone(), taken=20)) == found


def test_tombstones_of_a_live_point_are_not() -> None:
    """Nobody deleted that one's Backup: listed, it would be removed."""
    assert merge_removed([], [], view(tombstone(), points=("b1",))) == []


@pytest.mark.parametrize(
    ("before", "now", "seen", "expected"),
    [
        pytest.param(RETAINED, PENDING, None, PENDING, id="retained, adopted again, and deleted"),
        pytest.param(RETAINED, PENDING, view(points=("b1",)), PENDING, id="and the repository still has it"),
        pytest.param(NEEDED, PENDING, None, PENDING, id="set back, adopted again, and deleted"),
        pytest.param(NEEDED, PENDING, view(tombstone()), NEEDED, id="the same deletion again"),
        pytest.param(PENDING, RETAINED, view(points=("b1",)), RETAINED, id="adopted by hand, and deleted with Retain"),
    ],
)
def test_the_last_word_counts(
    before: RemovalState, now: RemovalState, seen: ChainView | None, expected: RemovalState
) -> None:
    (found,) = merge_removed([removed(state=before, full="b0")], [removed(state=now, since=6)], seen)
    assert (found.state, found.since, found.full) == (expected, at(6), "b0")


def test_of_too_many_those_that_nobody_was_told_of_stay() -> None:
    reported = [removed(f"n{number}", NEEDED) for number in range(MAX_WAITING)]
    kept = [removed(f"r{number}", RETAINED, since=number) for number in range(30)]
    waiting = [removed(f"p{number}", since=number) for number in range(30)]
    assert room_for(reported + waiting) == MAX_WAITING - 30
    found = merge_removed(reported + kept, waiting, None)
    assert len(found) == MAX_WAITING
    assert {point.backup for point in waiting + kept} <= {point.backup for point in found}
