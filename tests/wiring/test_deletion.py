"""Deleted Backups: they always go, their files only when nobody needs them and somebody really meant it."""

from __future__ import annotations

import itertools

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import backed_up, run
from tests.wiring.world import Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.reconcile.workload.worker_pod import task_of
from sendense_operator.task import MAX_REMOVALS

THREE = (("b1", "Full"), ("b2", "Incremental"), ("b3", "Incremental"))


def gone(rig: Rig, *backups: str) -> bool:
    return not set(backups or rig.phases()) & set(rig.phases())


def removed(rig: Rig) -> list[tuple[str, str]]:
    return [(point["backup"], point["state"]) for point in rig.chain()["status"].get("removed", [])]


def is_settled(rig: Rig) -> bool:
    """Nothing waits for the repository."""
    return "Pending" not in dict(removed(rig)).values() and not rig.chain()["metadata"].get("finalizers")


async def delete(rig: Rig, *backups: str) -> None:
    for name in backups:
        rig.delete(name)
    await rig.run(lambda: gone(rig, *backups), seconds=5)
    await rig.run(lambda: is_settled(rig), seconds=30)
    rig.world.repository.check()


@pytest.mark.parametrize("order", list(itertools.permutations(["b1", "b2", "b3"])), ids="-".join)
async def test_in_any_order(order: tuple[str, ...]) -> None:
    rig = await backed_up(Rig(), *THREE)
    left = ["b1", "b2", "b3"]
    for name in order:
        await delete(rig, name)
        left.remove(name)
        assert rig.world.repository.names() == left
        status = rig.chain()["status"]
        assert [point["backup"] for point in status["restorePoints"]] == left
        waits = [point["backup"] for point in status.get("removed", [])]
        assert sorted(waits) == sorted(rig.world.repository.waiting())
        assert all(point["neededBy"] in left for point in status.get("removed", []))
    assert rig.world.repository.waiting() == []
    assert rig.chain()["status"]["storedBytes"] == 0
    assert rig.controller.errors == []


async def test_all_at_once() -> None:
    rig = await backed_up(Rig(), *THREE)
    await delete(rig, "b2", "b1", "b3")
    assert (rig.world.repository.names(), rig.world.repository.waiting()) == ([], [])
    probes = [name for kind, name in rig.world.cluster.made if kind == "Job" and "-probe-" in name]
    assert len(probes) <= 4, "one pod for all of them, or few"


async def test_more_than_one_pod_can_be_told_of() -> None:
    rig = Rig()
    rig.create_references()
    many = MAX_REMOVALS + 40
    fill(rig, many)
    await rig.run(lambda: len(rig.phases()) == many and set(rig.phases().values()) == {"Completed"})
    for name in rig.phases():
        rig.delete(name)
    await rig.run(lambda: gone(rig) and is_settled(rig), seconds=60)
    assert (rig.world.repository.names(), rig.world.repository.waiting()) == ([], [])
    assert rig.world.repository.removals == many


def fill(rig: Rig, count: int) -> None:
    """So many restore points of another cluster, all fulls."""
    for number in range(count):
        uid = sample.uid_of("elsewhere", str(number))
        rig.world.repository.commit_unheard(f"n{number:04}", uid, rig.world.clock.now())


async def test_freed_files_are_told_of() -> None:
    """Once, and only when they are really gone."""
    rig = await backed_up(Rig(), *THREE)
    await delete(rig, "b1")
    assert rig.events("RestorePointFreed") == []
    await delete(rig, "b3", "b2")
    await rig.settle(seconds=30)
    reported = [event["message"] for event in rig.events("RestorePointFreed")]
    assert sum(int(message.partition(" ")[0]) for message in reported) == 3
    assert all(event["count"] == 1 for event in rig.events("RestorePointFreed"))
    assert {event["involvedObject"]["kind"] for event in rig.events("RestorePointFreed")} == {"BackupChain"}


async def test_what_depends_on_a_removed_point_says_so() -> None:
    rig = await backed_up(Rig(), *THREE)
    await delete(rig, "b1", "b2")
    status = rig.chain()["status"]
    assert removed(rig) == [("b1", "Needed"), ("b2", "Needed")]
    assert {point["neededBy"] for point in status["removed"]} == {"b3"}
    assert [(p["backup"], p["full"], p["depth"]) for p in status["restorePoints"]] == [("b3", "b1", 3)]
    assert status["storedBytes"] == 256 * 2**20 + 2 * 32 * 2**20
    await run(rig, "b4")
    assert rig.backup("b4")["status"]["disks"][0]["parent"] == "b3"


async def test_twice() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.delete("b2")
    rig.delete("b2")
    await delete(rig, "b1")
    assert rig.world.repository.names() == ["b3"]
    assert rig.world.repository.removals == 2


async def test_the_parent_of_an_increment_that_runs() -> None:
    rig = await backed_up(Rig(), *THREE[:2])
    rig.create_backup("b3", type="Incremental")
    await rig.run(lambda: rig.reason("b3") == "Copying")
    await delete(rig, "b1", "b2")
    await rig.run(lambda: rig.is_over("b3"))
    assert rig.backup("b3")["status"]["type"] == "Incremental"
    assert sorted(rig.world.repository.waiting()) == ["b1", "b2"]
    rig.world.repository.check()
    await rig.settle(seconds=5)
    await delete(rig, "b3")
    assert rig.world.repository.waiting() == []


async def test_with_the_repository_away() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.world.probe = sample.failed_answer("StorageError", "Input/output error")
    rig.delete("b1")
    rig.delete("b3")
    await rig.run(lambda: gone(rig, "b1", "b3"), seconds=5)
    await rig.settle(seconds=60)
    assert removed(rig) == [("b1", "Pending"), ("b3", "Pending")]
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    rig.restart()
    rig.world.probe = Rig().world.probe
    await rig.run(lambda: is_settled(rig), seconds=1000)
    assert rig.world.repository.names() == ["b2"]
    assert removed(rig) == [("b1", "Needed")]


@pytest.mark.parametrize("committed", [False, True])
async def test_while_its_worker_runs(committed: bool) -> None:
    """A commit that was faster goes too."""
    rig = await backed_up(Rig(), *THREE[:2])
    rig.world.endings["b3"] = [Ending.HANG]
    rig.create_backup("b3", type="Incremental")
    await rig.run(lambda: rig.reason("b3") == "Copying")
    rig.delete("b3")
    if committed:
        commit(rig, "b3")
    await rig.run(lambda: gone(rig, "b3"), seconds=20)
    await rig.run(lambda: is_settled(rig), seconds=30)
    assert rig.world.repository.names() == ["b1", "b2"]
    assert rig.world.repository.removals == int(committed)


def commit(rig: Rig, backup: str) -> None:
    """The worker of a Backup commits, and nobody hears of it."""
    tasks = [task for job in rig.world.worker_jobs() if (task := task_of(job)) is not None and task.backup == backup]
    rig.world.repository.commit(tasks[0], "backup-x", rig.world.clock.now())


async def test_a_commit_that_nobody_saw_goes_with_the_failed_backup() -> None:
    rig = await backed_up(Rig(node_lost_seconds=60), *THREE[:1])
    rig.create_backup("b2", type="Incremental")
    await rig.run(lambda: rig.reason("b2") == "Copying")
    rig.world.lose_node()
    await rig.run(lambda: rig.phase("b2") == "Failed")
    commit(rig, "b2")
    rig.world.lost = False
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=60)
    await rig.run(lambda: is_settled(rig), seconds=60)
    assert rig.world.repository.names() == ["b1"]


@pytest.mark.parametrize("commits", [False, True])
async def test_a_worker_that_outlives_its_backup(commits: bool) -> None:
    """It may commit as long as it has the chain: the removal waits for that."""
    rig = await backed_up(Rig(), *THREE[:1])
    rig.world.endings["b2"], rig.world.stuck = [Ending.HANG], True
    rig.create_backup("b2", type="Incremental")
    await rig.run(lambda: rig.reason("b2") == "Copying")
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=120)
    await rig.settle(seconds=120)
    assert removed(rig) == [("b2", "Pending")]
    if commits:
        commit(rig, "b2")
    rig.world.stuck = False
    rig.ask_for_a_scan()
    await rig.run(lambda: removed(rig) == [], seconds=1000)
    await rig.settle(seconds=60)
    assert (rig.world.repository.names(), set(rig.phases())) == (["b1"], {"b1"})
    assert rig.world.repository.removals == int(commits)


@pytest.mark.parametrize(("ending", "held"), [(Ending.FATAL, False), (Ending.COMPLETE, True)])
async def test_only_who_may_have_a_restore_point_is_held(ending: Ending, held: bool) -> None:
    rig = Rig()
    rig.world.endings["b1"] = [ending]
    await backed_up(rig, ("b1", "Full"))
    assert rig.backup()["metadata"]["finalizers"] == ([names.FINALIZER_RESTORE_POINT] if held else [])


async def test_one_of_an_older_operator_is_held_too() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    backup = rig.backup()
    rig.world.cluster.put(kinds.BACKUP, {**backup, "metadata": {**backup["metadata"], "finalizers": []}})
    await rig.settle(seconds=2)
    assert rig.backup()["metadata"]["finalizers"] == [names.FINALIZER_RESTORE_POINT]


async def test_a_chain_that_somebody_deletes_is_made_again() -> None:
    rig = await backed_up(Rig(), *THREE)
    before: Obj = rig.chain()
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, before)
    await rig.settle(seconds=5)
    after = rig.chain()
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["status"]["points"] == 3


async def test_a_chain_that_somebody_deletes_first_removes_what_it_has_to() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.world.probe = sample.failed_answer("StorageError", "Input/output error")
    rig.delete("b3")
    await rig.run(lambda: gone(rig, "b3"), seconds=5)
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, rig.chain())
    await rig.settle(seconds=30)
    assert removed(rig) == [("b3", "Pending")]
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=5)
    rig.world.probe = Rig().world.probe
    old = rig.chain()["metadata"]["uid"]
    await rig.run(lambda: rig.chain()["metadata"]["uid"] != old, seconds=1000)
    assert rig.world.repository.names() == ["b1"]


async def upgraded_away(*removed: str) -> Rig:
    """b3's manifest is of a newer version; these Backups are deleted."""
    rig = await backed_up(Rig(), *THREE)
    rig.world.repository.chain().newer = {uid_in_repository(rig, "b3")}
    for name in removed:
        rig.delete(name)
    await rig.run(lambda: gone(rig, *removed), seconds=5)
    await rig.settle(seconds=60)
    return rig


def uid_in_repository(rig: Rig, backup: str) -> str:
    return next(uid for uid, point in rig.world.repository.points().items() if point.backup == backup)


async def test_one_whose_manifest_can_not_be_read_waits() -> None:
    """It goes as soon as it can be read, and is not taken for a point of another cluster before."""
    rig = await upgraded_away("b3", "b2")
    assert removed(rig) == [("b2", "Needed"), ("b3", "Pending")]
    assert "neededBy" not in rig.chain()["status"]["removed"][1]
    rig.world.repository.chain().newer.clear()
    rig.ask_for_a_scan()
    await rig.run(lambda: is_settled(rig), seconds=1000)
    assert (rig.world.repository.names(), removed(rig)) == (["b1"], [])
    assert set(rig.phases()) == {"b1"}
    assert rig.controller.errors == []


async def test_a_chain_lets_go_of_what_can_not_be_read() -> None:
    rig = await upgraded_away("b3")
    old = rig.chain()["metadata"]["uid"]
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, rig.chain())
    await rig.run(lambda: rig.chain()["metadata"]["uid"] != old, seconds=60)
    (event,) = rig.events("RestorePointKept")
    assert "1 removed restore points stay" in event["message"]
    assert "can't be read" in event["message"]
    assert event["type"] == "Warning"


async def test_a_chain_waits_for_what_can_be_removed_yet() -> None:
    """A pod that received one only says nothing about the other."""
    rig = await upgraded_away("b3")
    rig.world.probe = sample.failed_answer("StorageError", "Input/output error")
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=5)
    old = rig.chain()["metadata"]["uid"]
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, rig.chain())
    await rig.settle(seconds=30)
    assert rig.chain()["metadata"]["uid"] == old
    rig.world.probe = Rig().world.probe
    await rig.run(lambda: rig.chain()["metadata"]["uid"] != old, seconds=1000)
    assert rig.world.repository.waiting() == ["b2"]


async def test_a_chain_lets_go_when_its_repository_is_gone_for_good() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.world.probe = sample.failed_answer("StorageError", "Input/output error")
    rig.delete("b3")
    await rig.run(lambda: gone(rig, "b3"), seconds=5)
    rig.world.cluster.remove(kinds.BACKUP_REPOSITORY, rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store"))
    old = rig.chain()["metadata"]["uid"]
    rig.world.cluster.begin_deletion(kinds.BACKUP_CHAIN, rig.chain())
    await rig.run(lambda: rig.chain()["metadata"]["uid"] != old, seconds=60)
    (event,) = rig.events("RestorePointKept")
    assert "1 removed restore points stay" in event["message"]


async def test_two_controllers() -> None:
    """Another one takes over in the middle, and the first comes back: nothing is lost, nothing is done twice."""
    rig = await backed_up(Rig(), *THREE)
    first = rig.controller
    for name in ("b1", "b2"):
        rig.delete(name)
    rig.restart()
    second = rig.controller
    for _ in range(60):
        for controller in (first, second):
            rig.controller = controller
            rig.world.cluster.on_change = controller.on_change
            await controller.work()
        rig.world.step()
    assert gone(rig, "b1", "b2")
    assert is_settled(rig)
    assert rig.world.repository.names() == ["b3"]
    assert rig.world.repository.removals == 2
