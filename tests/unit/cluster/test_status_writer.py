"""Status and finalizers: written when something changed, on the object that was read."""

from __future__ import annotations

import pytest
from tests.support.sample import metadata
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster

from sendense_operator.api.v1alpha1.backup import BackupStatus, Phase
from sendense_operator.api.v1alpha1.names import FINALIZER
from sendense_operator.cluster.errors import ConflictError
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import (
    add_finalizers,
    change_finalizers,
    has_finalizer,
    remove_finalizers,
    write_status,
)


def made() -> tuple[FakeCluster, Obj]:
    cluster = FakeCluster(Clock())
    return cluster, cluster.put(BACKUP, {"metadata": metadata("Backup", "b"), "spec": {}})


async def test_a_status_is_written_once() -> None:
    cluster, obj = made()
    status = BackupStatus(phase=Phase.PENDING, message="waits")
    assert await write_status(cluster, BACKUP, obj, status)
    fresh = cluster.one(BACKUP, "b")
    assert fresh["status"]["message"] == "waits"
    assert not await write_status(cluster, BACKUP, fresh, status)
    assert cluster.one(BACKUP, "b") == fresh


async def test_defaults_of_the_schema_are_no_difference() -> None:
    cluster, obj = made()
    status = BackupStatus(phase=Phase.PENDING)
    stored = {**status.to_dict(), "disks": [], "conditions": []}
    assert not await write_status(cluster, BACKUP, {**obj, "status": stored}, status)


async def test_another_object_of_the_name_is_left_alone() -> None:
    cluster, obj = made()
    obj["metadata"]["uid"] = "an older one's"
    with pytest.raises(ConflictError):
        await write_status(cluster, BACKUP, obj, BackupStatus(phase=Phase.PENDING))


async def test_finalizers_come_and_go_beside_others() -> None:
    cluster, obj = made()
    obj = cluster.put(BACKUP, {**obj, "metadata": {**obj["metadata"], "finalizers": ["someone/else"]}})
    obj = await add_finalizers(cluster, BACKUP, obj, FINALIZER)
    assert has_finalizer(obj, FINALIZER)
    assert await add_finalizers(cluster, BACKUP, obj, FINALIZER) is obj
    obj = await remove_finalizers(cluster, BACKUP, obj, FINALIZER)
    assert obj["metadata"]["finalizers"] == ["someone/else"]
    assert await remove_finalizers(cluster, BACKUP, obj, FINALIZER) is obj


async def test_several_finalizers_change_by_one_write() -> None:
    cluster, obj = made()
    obj = await add_finalizers(cluster, BACKUP, obj, FINALIZER, "x/y")
    obj = await change_finalizers(cluster, BACKUP, obj, add=["a/b", "x/y"], remove=[FINALIZER, "not/there"])
    assert obj["metadata"]["finalizers"] == ["x/y", "a/b"]
    assert len(cluster.written) == 2
    assert await change_finalizers(cluster, BACKUP, obj, add=["a/b"], remove=[FINALIZER]) is obj


async def test_a_finalizer_on_what_changed_meanwhile_is_a_conflict() -> None:
    cluster, obj = made()
    await cluster.merge_patch(BACKUP, "shop", "b", {"spec": {"cancel": True}})
    with pytest.raises(ConflictError):
        await add_finalizers(cluster, BACKUP, obj, FINALIZER)


async def test_no_finalizer_on_what_is_being_deleted() -> None:
    cluster, obj = made()
    obj = cluster.put(
        BACKUP,
        {**obj, "metadata": {**obj["metadata"], "finalizers": ["x/y"], "deletionTimestamp": "2025-01-01T00:00:00Z"}},
    )
    with pytest.raises(ConflictError):
        await add_finalizers(cluster, BACKUP, obj, FINALIZER)
