"""A chain's status, counted from its Backups and from what waits to be freed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import GIB, NOON, at, stamp

from sendense_operator.api.v1alpha1.backupchain import MAX_WAITING, BackupChainStatus, RemovalState, RemovedPoint
from sendense_operator.api.v1alpha1.base import MAX_POINTS
from sendense_operator.catalogue_format import ChainRecord, PointRecord
from sendense_operator.reconcile.chains.chain_status import ChainFacts, describe_chain
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.task import BackupType

DAMAGED = [{"type": "Damaged", "status": "True", "reason": "Unreadable", "lastTransitionTime": stamp()}]


def point(
    name: str, seconds: float, *parents: str | None, stored_bytes: int = GIB, phase: str = "Completed", **more: Any
) -> Obj:
    """Return a restore point whose disks depend on those Backups; None: a full."""
    disks = [
        {"id": i, "key": 2000 + i, "virtualSize": 8 * GIB, "type": "Incremental" if parent else "Full", "depth": i + 1}
        | ({"parent": parent} if parent else {})
        for i, parent in enumerate(parents or (None,))
    ]
    done = {
        "phase": phase,
        "completionTime": stamp(seconds),
        "storedBytes": stored_bytes,
        "guestBytes": stored_bytes // 2,
    }
    return sample.backup(name, {**done, "disks": disks, "manifest": f"shop/db/backups/{name}.json", **more})


def status(
    *backups: Obj,
    old: BackupChainStatus | None = None,
    removed: tuple[RemovedPoint, ...] = (),
    view: ChainView | None = None,
) -> BackupChainStatus:
    facts = ChainFacts(backups, removed, (), 32, view)
    return describe_chain(old or BackupChainStatus(), facts, generation=1, now=NOON).status


def ready(found: BackupChainStatus) -> tuple[str, str]:
    (condition,) = [c for c in found.conditions if c.type == "Ready"]
    return condition.reason, condition.message


def test_points_are_in_the_order_of_their_commits() -> None:
    backups = [point("c", 3, "b"), point("a", 1), point("b", 2, "a", stored_bytes=GIB // 2)]
    random.Random(1).shuffle(backups)
    found = status(*backups)
    assert [p.backup for p in found.restore_points] == ["a", "b", "c"]
    assert (found.points, found.latest_backup, found.latest_time) == (3, "c", at(3))
    assert (found.stored_bytes, found.stored, found.virtual_size) == (5 * GIB // 2, "2.5 GiB", 8 * GIB)
    assert found.guest_bytes == 5 * GIB // 4
    assert [(c.type, c.reason) for c in found.conditions] == [("Ready", "Protected")]
    assert found.next is not None
    assert found.next.type is BackupType.INCREMENTAL


def reported(*names: str, taken: float, complete: bool = True) -> ChainView:
    """These in the order of their sequence."""
    records = [
        PointRecord(
            vm="db",
            backup=name,
            backup_uid=sample.uid_of("Backup", name),
            manifest="m",
            sequence=number,
            started=NOON,
            finished=NOON,
            job_id="j",
            disks=(),
        )
        for number, name in enumerate(names, 1)
    ]
    points = {record.backup_uid: record for record in records}
    return ChainView(ChainRecord(vm="db", complete=complete), at(taken), points)


def order(found: BackupChainStatus) -> list[str]:
    return [p.backup for p in found.restore_points]


AHEAD = point("ahead", 3600)
"""Of a worker, or another cluster, whose clock is an hour ahead; "next" was committed after it."""
NEXT = point("next", 20, "ahead")


def test_the_sequence_counts_and_no_clock() -> None:
    found = status(AHEAD, NEXT, point("first", 10), view=reported("first", "ahead", "next", taken=30))
    assert order(found) == ["first", "ahead", "next"]
    assert (found.latest_backup, found.latest_time) == ("next", at(20))
    assert fulls(found)["next"] == "ahead"


def test_what_was_committed_since_the_last_word_comes_last() -> None:
    view = reported("first", "ahead", taken=15)
    found = status(point("last", 40, "next"), NEXT, AHEAD, point("first", 10), view=view)
    assert order(found) == ["first", "ahead", "next", "last"]
    assert found.latest_backup == "last"


def test_what_the_repository_does_not_know_any_more_is_put_in_by_its_time() -> None:
    chain = [point("first", 10), point("lost", 12, phase="Lost"), AHEAD, NEXT]
    assert order(status(*chain, view=reported("first", "ahead", "next", taken=30))) == [
        "first",
        "lost",
        "ahead",
        "next",
    ]


@pytest.mark.parametrize("view", [None, reported("next", taken=90, complete=False)])
def test_until_the_first_word_the_order_of_before_holds(view: ChainView | None) -> None:
    """The controller was restarted, or the repository can't be listed."""
    chain = [point("first", 10), AHEAD, NEXT]
    before = status(*chain, view=reported("first", "ahead", "next", taken=30))
    found = status(*chain, point("since", 50, "next"), old=before, view=view)
    assert order(found) == ["first", "ahead", "next", "since"]
    assert status(*chain, point("since", 50, "next"), old=found, view=view) == found


def test_one_too_old_for_the_list_of_before_stays_the_oldest() -> None:
    chain = [point("first", 10), AHEAD, NEXT]
    before = status(*chain[1:], view=reported("ahead", "next", taken=30))
    assert order(status(*chain, old=before)) == ["first", "ahead", "next"]


def test_without_points_it_protects_nothing() -> None:
    found = status(old=status(point("a", 1)))
    assert (found.points, found.latest_backup, found.latest_time, found.restore_points) == (0, None, None, [])
    assert ready(found)[0] == "NoRestorePoints"
    assert found.next is not None
    assert (found.next.type, found.next.reason) == (BackupType.FULL, "NoParent")


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ((None,), BackupType.FULL),
        (("a", "a"), BackupType.INCREMENTAL),
        (("a", None), BackupType.FULL),
    ],
)
def test_type_of_a_point(parents: tuple[str | None, ...], expected: BackupType) -> None:
    found = status(point("a", 1, None, None), point("b", 2, *parents)).restore_points[1]
    assert (found.type, found.depth) == (expected, len(parents))


def fulls(found: BackupChainStatus) -> dict[str, str | None]:
    return {p.backup: p.full for p in found.restore_points}


def test_the_full_that_each_depends_on() -> None:
    chain = [point("a", 1), point("b", 2, "a"), point("c", 3), point("d", 4, "c"), point("e", 5, "d")]
    assert fulls(status(*chain)) == {"a": "a", "b": "a", "c": "c", "d": "c", "e": "c"}


def test_of_several_fulls_the_oldest_counts() -> None:
    chain = [point("a", 1, None, None), point("b", 2, "a", None), point("c", 3, "b", "b")]
    assert fulls(status(*chain)) == {"a": "a", "b": "a", "c": "a"}


def test_a_full_that_was_removed_is_remembered() -> None:
    chain = [point("a", 1), point("b", 2, "a"), point("c", 3, "b")]
    before = status(*chain)
    assert fulls(status(chain[2], old=before)) == {"c": "a"}
    assert fulls(status(chain[2])) == {"c": "b"}, "all that is known"


def test_a_removed_parent_still_tells_its_full() -> None:
    parent = RemovedPoint(backup="c", uid="u", state=RemovalState.NEEDED, full="a", since=NOON)
    found = status(point("d", 4, "c"), removed=(parent,))
    assert fulls(found) == {"d": "a"}
    assert [p.needed_by for p in found.removed] == ["d"]


def test_a_newer_backup_of_the_parents_name_is_not_the_parent() -> None:
    chain = [point("a", 1), point("b", 2, "a")]
    before = status(*chain)
    again = point("a", 9)
    assert fulls(status(chain[1], again, old=before)) == {"b": "a", "a": "a"}
    assert status(chain[1], again, old=before).restore_points[0].backup == "b"


def test_an_adopted_point_of_another_name_is_a_parent() -> None:
    adopted = point("a-12345678", 1, manifest="shop/db/backups/a.json")
    assert fulls(status(adopted, point("b", 2, "a")))["b"] == "a-12345678"


def test_lost_points_are_listed_and_not_counted() -> None:
    found = status(point("a", 1), point("b", 2, "a", phase="Lost"))
    assert [(p.backup, p.state) for p in found.restore_points] == [("a", "Available"), ("b", "Lost")]
    assert (found.points, found.latest_backup, found.stored_bytes) == (1, "a", GIB)
    assert ready(found) == ("Protected", "1 restore point, the newest is a; 1 lost")
    assert ready(status(point("a", 1, phase="Lost")))[0] == "Lost"


def test_damage_of_the_newest_is_no_protection() -> None:
    found = status(point("a", 1), point("b", 2, "a", conditions=DAMAGED))
    assert found.points == 2
    reason, message = ready(found)
    assert reason == "Damaged"
    assert "the next backup is a Full" in message
    assert found.next is not None
    assert found.next.reason == "ParentUnverified"
    older = status(point("a", 1, conditions=DAMAGED), point("b", 2))
    assert ready(older) == ("Protected", "2 restore points, the newest is b; 1 damaged")
    assert older.restore_points[0].state == "Damaged"


def test_what_waits_to_be_freed_is_counted() -> None:
    waiting = RemovedPoint(backup="a", uid="u", stored_bytes=GIB, since=NOON)
    found = status(point("b", 2, "a"), removed=(waiting,))
    assert (found.stored_bytes, found.removed) == (2 * GIB, [waiting])


def test_of_very_many_the_newest_are_listed_and_all_are_counted() -> None:
    found = status(*(point(f"b{number:04}", number) for number in range(1003)))
    assert (found.points, len(found.restore_points), found.restore_points[0].backup) == (1003, 1000, "b0003")
    BackupChainStatus.model_validate(found.to_dict())


def test_the_same_again_is_equal() -> None:
    backups = [point("a", 1), point("b", 2, "a"), point("c", 3, "x")]
    once = status(*backups)
    assert describe_chain(once, ChainFacts(backups, (), (), 32), generation=1, now=at(99)).status == once


@pytest.mark.parametrize(("length", "each"), [(20, 250), (63, 350)])
def test_the_largest_chain_stays_far_below_the_limit_of_etcd(length: int, each: int) -> None:
    """1.5 MiB is etcd's, 1 MiB ours. Lists are atomic, so managedFields do not grow with them."""
    names = [f"{number:0{length}}" for number in range(MAX_POINTS)]
    backups = [point(n, i, names[i - 1] if i else None, stored_bytes=10**12) for i, n in enumerate(names)]
    waiting = [
        RemovedPoint(
            backup=n,
            uid=sample.uid_of(n),
            state=RemovalState.NEEDED,
            stored_bytes=10**12,
            needed_by=n,
            full=n,
            since=NOON,
        )
        for n in names[:MAX_WAITING]
    ]
    found = status(*backups, removed=tuple(waiting))
    assert len(found.restore_points) == MAX_POINTS
    assert len(found.removed) == MAX_WAITING
    sizes = [len(json.dumps(part, separators=(",", ":"))) for part in found.to_dict()["restorePoints"]]
    assert max(sizes) <= each
    assert len(json.dumps(found.to_dict())) < 750_000
