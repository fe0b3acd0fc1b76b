"""Which object owns a restore point, and which point a copy of an object is of."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import at, stamp, uid_of

from sendense_operator.api.v1alpha1 import names
from sendense_operator.catalogue_format import ChainRecord, PointRecord
from sendense_operator.reconcile.catalogue.ownership import (
    find_point,
    identify,
    is_restored,
    owner_of,
    owners,
    owns_point,
    point_named,
    point_uid,
)
from sendense_operator.reconcile.state.records import ChainView, KnownBackup

UID = uid_of("Backup", "b1")


def known(name: str = "b1", phase: str = "Completed", *, age: float = 0, **more: Any) -> KnownBackup:
    own = uid_of("Backup", name)
    plain = KnownBackup(name, own, own, "db", phase, False, at(60), "", None, at(age))
    return replace(plain, **more)


def point(name: str = "b1", *, uid: str = UID, sequence: int = 1) -> PointRecord:
    return PointRecord(
        vm="db",
        backup=name,
        backup_uid=uid,
        manifest=f"shop/db/backups/{name}.json",
        sequence=sequence,
        started=at(0),
        finished=at(60),
        job_id=f"backup-{name}",
        disks=(),
    )


def view(*points: PointRecord) -> ChainView:
    return ChainView(ChainRecord(vm="db"), at(1000), {point.backup_uid: point for point in points})


MAKER = known()
DONE = known("done", point_uid=UID, age=9)
WAITS = known("waits", "Pending", point_uid=UID, age=1)
LATER = known("later", "Pending", point_uid=UID, age=2)


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        ((), None),
        ((MAKER, DONE, WAITS), "b1"),
        ((replace(MAKER, phase="Running"), DONE), "b1"),
        ((replace(MAKER, is_deleting=True), DONE, WAITS), "done"),
        ((replace(MAKER, phase="Failed"), WAITS), "waits"),
        ((replace(MAKER, phase="Cancelled"), replace(WAITS, phase="Failed")), None),
        ((LATER, WAITS), "waits"),
        ((known("other"),), None),
    ],
)
def test_the_owner(claims: tuple[KnownBackup, ...], owner: str | None) -> None:
    for order in permutations(claims):
        found = owner_of(UID, order)
        assert (found.name if found else None) == owner
        assert owners(order).get(UID) == found


@pytest.mark.parametrize(
    ("obj", "uid"),
    [
        (sample.backup("b1"), UID),
        (sample.backup("b1", {"restorePointUID": "another"}), "another"),
        (sample.backup("b1", {"restorePointUID": "another"}, adopt={"uid": "adopted"}), "adopted"),
    ],
)
def test_the_uid_of_a_point(obj: Obj, uid: str) -> None:
    assert point_uid(obj) == uid


def labelled(status: Obj | None = None, phase: str = "Completed", **spec: Any) -> Obj:
    obj = sample.backup("b1", status, **spec)
    return {**obj, "metadata": {**obj["metadata"], "labels": {names.LABEL_PHASE: phase}}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (labelled(), True),
        (labelled(phase="Pending"), False),
        (sample.backup("b1"), False),
        (labelled(adopt={"uid": UID}), False),
        (labelled({"phase": "Completed"}), False),
        (labelled({"phase": "Pending", "adopted": True}, phase="Pending"), True),
        (labelled({"phase": "Completed", "adopted": True, "manifest": "m", "restorePointUID": UID}), False),
    ],
)
def test_what_another_tool_restored(obj: Obj, expected: bool) -> None:
    assert is_restored(obj) is expected


@pytest.mark.parametrize(
    ("phase", "meta", "expected"),
    [
        ("Completed", {}, True),
        ("Pending", {}, True),
        ("Failed", {}, False),
        ("Cancelled", {}, False),
        ("Completed", {"deletionTimestamp": stamp()}, False),
    ],
)
def test_who_counts_as_owner(phase: str, meta: Obj, expected: bool) -> None:
    obj = sample.backup("b1", {"phase": phase})
    assert owns_point({**obj, "metadata": {**obj["metadata"], **meta}}) is expected


COPY = known("copy", uid="new", point_uid="new", manifest="shop/db/backups/b1.json", job_id="backup-b1")


@pytest.mark.parametrize(
    ("backups", "uids"),
    [
        ((COPY,), [UID]),
        ((COPY, MAKER), ["new", UID]),
        ((MAKER, COPY), [UID, "new"]),
        ((COPY, replace(COPY, name="second", uid="other", point_uid="other")), [UID, "other"]),
        ((replace(COPY, job_id="backup-b2"),), ["new"]),
        ((replace(COPY, manifest="shop/db/backups/b2.json"),), ["new"]),
        ((replace(COPY, phase="Failed"),), ["new"]),
        ((replace(COPY, is_deleting=True),), ["new"]),
        ((replace(COPY, vm="another"),), ["new"]),
        ((known(uid="new", point_uid="new", phase="", is_restored=True),), [UID]),
        ((known("b2", uid="new", point_uid="new", phase="", is_restored=True),), ["new"]),
    ],
)
def test_the_point_of_a_copy(backups: tuple[KnownBackup, ...], uids: list[str]) -> None:
    found = identify(backups, {"db": view(point())})
    assert [backup.point_uid for backup in found] == uids
    assert [backup.is_identified for backup in found] == [
        after.point_uid != before.point_uid for after, before in zip(found, backups, strict=True)
    ]


def test_of_several_points_of_one_name_the_newest() -> None:
    """Retained ones: the name was used again."""
    old, new = point(uid="old", sequence=3), point(uid="new", sequence=9)
    assert point_named(view(new, old), "b1") == new
    assert find_point(labelled(), view(old, new)) == new
    assert find_point(sample.backup("b1", adopt={"uid": "old"}), view(old, new)) == old
    assert find_point(sample.backup("b2"), view(old, new)) is None
