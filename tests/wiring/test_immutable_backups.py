"""Immutable restore points: their Backups wait in their deletion, and go when their time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import NAMESPACE
from tests.wiring import test_restores
from tests.wiring.rig import Rig
from tests.wiring.test_deletion import THREE, gone, is_settled, removed
from tests.wiring.test_incrementals import backed_up, run

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.chains.chain_reconciler import reconcile_chain
from sendense_operator.reconcile.workload.worker_pod import probe_task_of, task_of

WEEK: dict[str, Any] = {"immutability": {"days": 7}}


async def protected(*backups: tuple[str, str], **repository: Any) -> Rig:
    return await backed_up(Rig(), *(backups or THREE), **(repository or WEEK))


async def test_each_restore_point_says_until_when() -> None:
    rig = await protected(("b1", "Full"))
    status = rig.backup("b1")["status"]
    until = parse_time(status["retainedUntil"])
    committed = parse_time(status["completionTime"])
    assert until is not None
    assert committed is not None
    assert timedelta(0) <= committed + timedelta(days=7) - until < timedelta(minutes=5)
    (listed,) = rig.chain()["status"]["restorePoints"]
    assert parse_time(listed["retainedUntil"]) == committed + timedelta(days=7)


async def test_the_time_in_a_task_is_the_api_servers() -> None:
    rig = await protected(("b1", "Full"))
    jobs = [obj for (kind, _, _), obj in rig.world.cluster.objects.items() if kind == "Job"]
    tasks = [task for job in jobs for task in (task_of(job), probe_task_of(job)) if task is not None]
    assert tasks
    for task in tasks:
        assert task.immutability is not None
        assert task.immutability.days == 7
        assert abs(task.immutability.now - rig.world.clock.now()) < timedelta(minutes=5)


async def test_a_deleted_one_waits_and_goes_at_its_time() -> None:
    rig = await protected()
    rig.delete("b2")
    await rig.run(lambda: rig.reason("b2") == "RetainedUntil", seconds=5)
    status = rig.backup("b2")["status"]
    assert status["phase"] == "Deleting"
    assert f"immutable until {rig.chain()['status']['removed'][0]['keptUntil']}" in status["message"]
    assert status["completionTime"]
    assert removed(rig) == [("b2", "Immutable")]
    assert rig.chain()["status"]["storedBytes"] == 256 * 2**20 + 2 * 32 * 2**20
    assert len(rig.events("RetainedUntil")) == 1
    rig.world.clock.pass_days(6.9)
    await rig.settle(seconds=30)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    assert rig.phase("b2") == "Deleting"
    rig.world.clock.pass_days(0.2)
    await rig.run(lambda: gone(rig, "b2"), seconds=3700)
    await rig.run(lambda: is_settled(rig), seconds=60)
    assert rig.world.repository.names() == ["b1", "b3"]
    assert removed(rig) == [("b2", "Needed")]
    assert (rig.world.repository.refused, rig.controller.errors) == (0, [])


async def test_waiting_costs_nothing() -> None:
    rig = await protected()
    rig.delete("b2")
    await rig.run(lambda: rig.reason("b2") == "RetainedUntil", seconds=5)
    await rig.settle(seconds=60)
    calls = rig.record_calls()
    await rig.settle(seconds=600)
    writes = [call for call in calls if call[0] not in ("get", "list") and call[1] in ("Backup", "BackupChain")]
    assert writes == []
    assert len([call for call in calls if call == ("list", "Backup")]) < 60


async def test_its_chain_is_checked_again_at_its_time_and_each_hour() -> None:
    rig = await protected()
    rig.delete("b2")
    await rig.run(lambda: rig.reason("b2") == "RetainedUntil", seconds=5)
    ctx, index = rig.controller.ctx, rig.controller.protection
    assert await reconcile_chain(ctx, index, NAMESPACE, "db", "store") == 3600
    until = parse_time(rig.chain()["status"]["removed"][0]["keptUntil"])
    assert until is not None
    rig.world.clock.seconds += int((until - rig.world.clock.now()).total_seconds()) - 100
    assert await reconcile_chain(ctx, index, NAMESPACE, "db", "store") == 160


async def test_it_stays_a_parent_meanwhile() -> None:
    rig = await protected()
    rig.delete("b3")
    await rig.run(lambda: rig.reason("b3") == "RetainedUntil", seconds=5)
    await run(rig, "b4")
    assert rig.backup("b4")["status"]["disks"][0]["parent"] == "b3"
    rig.world.repository.check()


async def test_a_restarted_controller_waits_on() -> None:
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    rig.restart()
    await rig.settle(seconds=120)
    assert rig.phase("b1") == "Deleting"
    rig.world.clock.pass_days(8)
    rig.restart()
    await rig.run(lambda: gone(rig, "b1"), seconds=60)


@pytest.mark.parametrize("days", [None, 1])
async def test_no_edit_shortens_it(days: int | None) -> None:
    rig = await protected()
    rig.edit(kinds.BACKUP_REPOSITORY, "store", immutability={"days": days} if days else None)
    rig.delete("b1")
    rig.world.clock.pass_days(6.5)
    await rig.settle(seconds=120)
    assert rig.phase("b1") == "Deleting"
    rig.world.clock.pass_days(1)
    await rig.run(lambda: gone(rig, "b1"), seconds=60)


async def test_more_days_apply_to_earlier_points() -> None:
    rig = await protected(("b1", "Full"), deletionGraceSeconds=0)
    rig.edit(kinds.BACKUP_REPOSITORY, "store", immutability={"days": 3})
    rig.delete("b1")
    rig.world.clock.pass_days(2.5)
    await rig.settle(seconds=60)
    assert rig.reason("b1") == "RetainedUntil"
    rig.edit(kinds.BACKUP_REPOSITORY, "store", immutability={"days": 30})
    rig.world.clock.pass_days(10)
    await rig.settle(seconds=60)
    assert rig.phase("b1") == "Deleting"
    assert rig.world.repository.names() == ["b1"]


async def test_the_worker_refuses_what_the_controller_does_not_know() -> None:
    """As a controller whose status lost the time: the files stay, and the removal waits."""
    rig = await protected(("b1", "Full"), ("b2", "Full"))
    rig.edit(kinds.BACKUP_REPOSITORY, "store", immutability=None)
    obj = rig.backup("b1")
    obj["status"].pop("retainedUntil", None)
    rig.world.cluster.put(kinds.BACKUP, obj)
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=10)
    await rig.settle(seconds=60)
    assert rig.world.repository.names() == ["b1", "b2"]
    assert 1 <= rig.world.repository.refused < 5
    assert removed(rig) == [("b1", "Pending")]
    rig.world.clock.pass_days(8)
    await rig.run(lambda: not removed(rig), seconds=2000)
    assert rig.world.repository.names() == ["b2"]


async def test_a_namespace_that_goes_waits_for_nothing_and_frees_nothing() -> None:
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    rig.world.cluster.terminating.add(NAMESPACE)
    for (kind, namespace, name), obj in list(rig.world.cluster.objects.items()):
        if namespace == NAMESPACE and (kind, namespace, name) in rig.world.cluster.objects:
            rig.world.cluster.begin_deletion(kinds.Kind(obj["apiVersion"], kind, ""), obj)
    await rig.run(lambda: not [place for place in rig.world.cluster.objects if place[1] == NAMESPACE], seconds=60)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


async def test_the_crds_that_go_wait_for_nothing() -> None:
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    definition = rig.world.cluster.one(kinds.DEFINITION, f"{kinds.BACKUP.plural}.{names.GROUP}")
    definition["metadata"]["deletionTimestamp"] = sample.stamp()
    rig.world.cluster.put(kinds.DEFINITION, definition)
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=5)
    rig.world.clock.pass_days(0.1)
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    assert {event["type"] for event in rig.events("RestorePointKept")} == {"Warning"}


async def test_a_deleted_repository_object_frees_nothing() -> None:
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    rig.world.cluster.remove(kinds.BACKUP_REPOSITORY, rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store"))
    await rig.run(lambda: gone(rig, "b1"), seconds=3700)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


async def test_a_deleted_chain_frees_nothing() -> None:
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, rig.chain())
    await rig.settle(seconds=60)
    assert removed(rig) == [("b1", "Immutable")]
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


async def test_with_retain_the_object_goes_at_once() -> None:
    rig = await protected()
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


async def test_it_can_be_restored_meanwhile() -> None:
    rig = await test_restores.protected(**WEEK)
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    test_restores.create(rig, backup="b1")
    await rig.run(lambda: test_restores.phase(rig) == "Completed")


async def test_another_object_may_take_it_over() -> None:
    rig = await protected()
    uid = rig.backup("b1")["metadata"]["uid"]
    rig.delete("b1")
    await rig.run(lambda: rig.reason("b1") == "RetainedUntil", seconds=5)
    rig.create_backup("again", adopt={"uid": uid})
    await rig.run(lambda: rig.phase("again") == "Completed" and gone(rig, "b1"), seconds=60)
    assert removed(rig) == []
    assert rig.backup("again")["status"]["retainedUntil"]
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


async def test_an_object_that_lost_its_finalizer_is_listed_no_more() -> None:
    """Somebody removed it by hand: the next scan adopts the restore point again."""
    rig = await protected()
    rig.delete("b1")
    await rig.run(lambda: removed(rig) == [("b1", "Immutable")], seconds=5)
    rig.world.cluster.remove(kinds.BACKUP, rig.backup("b1"))
    rig.ask_for_a_scan()
    await rig.run(lambda: rig.phases().get("b1") == "Completed", seconds=120)
    await rig.settle(seconds=10)
    assert removed(rig) == []


async def test_another_cluster_that_adopts_it_honours_it() -> None:
    """Without `spec.immutability` of its own."""
    rig = await protected(("b1", "Full"))
    other = Rig()
    other.world.repository = rig.world.repository
    other.create_references()
    await other.run(lambda: other.phases() == {"b1": "Completed"}, seconds=60)
    assert other.backup("b1")["status"]["retainedUntil"] == rig.backup("b1")["status"]["retainedUntil"]
    other.delete("b1")
    await other.settle(seconds=60)
    assert other.reason("b1") == "RetainedUntil"
    assert other.world.repository.names() == ["b1"]
