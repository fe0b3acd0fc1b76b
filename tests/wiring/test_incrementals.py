"""Increments: what a worker receives, and what status says of what ran, disk by disk."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.objects import Obj, disk_types
from tests.support.sample import GIB
from tests.wiring.rig import Rig

from sendense_operator.cluster import kinds
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.hints import RepositoryMessages
from sendense_operator.reconcile.workload.worker_pod import task_of

STORE = "shop/store"


async def backed_up(rig: Rig, *backups: tuple[str, str], **repository: Any) -> Rig:
    """With Backups of these names and types, one after the other."""
    rig.create_references(**repository)
    for name, kind in backups:
        await run(rig, name, kind)
    return rig


async def run(rig: Rig, name: str, kind: str = "Incremental", **spec: Any) -> Obj:
    rig.create_backup(name, type=kind, **spec)
    await rig.run(lambda: rig.is_over(name) and rig.is_clean())
    await rig.settle(seconds=3)
    status: Obj = rig.backup(name)["status"]
    return status


async def test_what_an_increment_says() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Incremental"))
    status = await run(rig, "b3")
    (disk,) = status["disks"]
    assert (status["phase"], status["type"], status["chainName"]) == (
        "Completed",
        "Incremental",
        rig.chain()["metadata"]["name"],
    )
    assert (disk["type"], disk["parent"], disk["parentChangeID"], disk["changeID"], disk["depth"]) == (
        "Incremental",
        "b2",
        "52 b2/0",
        "52 b3/0",
        3,
    )
    assert "reason" not in disk
    assert (status["guestBytes"], status["progress"]["percent"]) == (disk["guestBytes"], 100)
    assert status["message"] == "Incremental: 1 disk, 1.0 GiB, committed; 102 MiB sent, 32.0 MiB stored"
    assert rig.events("FellBackToFull") == []


async def test_the_chain_of_a_full_and_its_increments() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Incremental"), ("b3", "Auto"), ("b4", "Full"))
    status = rig.chain()["status"]
    points = [(p["backup"], p["type"], p["full"], p["depth"]) for p in status["restorePoints"]]
    assert points == [
        ("b1", "Full", "b1", 1),
        ("b2", "Incremental", "b1", 2),
        ("b3", "Incremental", "b1", 3),
        ("b4", "Full", "b4", 1),
    ]
    assert (status["points"], status["latestBackup"], status["depth"]) == (4, "b4", 1)
    assert status["storedBytes"] == sum(point["storedBytes"] for point in status["restorePoints"])
    assert status["next"]["type"] == "Incremental"


@pytest.mark.parametrize(("kind", "event"), [("Auto", "Normal"), ("Incremental", "Normal")])
async def test_the_first_one_has_no_parent(kind: str, event: str) -> None:
    rig = await backed_up(Rig())
    status = await run(rig, "b1", kind)
    assert (status["phase"], status["type"], disk_types(status)) == ("Completed", "Full", [("Full", "NoParent")])
    assert [e["type"] for e in rig.events("FellBackToFull")] == [event]


FULL, INCREMENTAL = ("Full", None), ("Incremental", None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({2000: GIB, 2001: GIB}, {2000: GIB, 2001: GIB}, [INCREMENTAL, INCREMENTAL]),
        ({2000: GIB}, {2000: GIB, 2001: GIB}, [INCREMENTAL, ("Full", "NewDisk")]),
        ({2000: GIB, 2001: GIB}, {2001: GIB}, [INCREMENTAL]),
        ({2000: GIB, 2001: GIB}, {2000: GIB, 2001: 2 * GIB}, [INCREMENTAL, ("Full", "DiskResized")]),
        ({2000: GIB, 2001: GIB}, {2000: GIB, 2005: GIB}, [INCREMENTAL, ("Full", "NewDisk")]),
    ],
)
async def test_disks_come_and_go(
    before: dict[int, int], after: dict[int, int], expected: list[tuple[str, str | None]]
) -> None:
    rig = Rig()
    rig.vma.layout = before
    await backed_up(rig, ("b1", "Full"))
    rig.vma.layout = after
    await rig.settle(seconds=400)  # what was looked up is old by now
    status = await run(rig, "b2")
    assert disk_types(status) == expected
    assert [disk["key"] for disk in status["disks"]] == list(after)
    assert status["type"] == ("Full" if any(reason for _, reason in expected) else "Incremental")
    reported = [event["message"] for event in rig.events("FellBackToFull")]
    assert all(str(reason) in reported[0] for _, reason in expected if reason)
    assert bool(reported) is any(reason for _, reason in expected)


async def test_without_a_parent_it_may_fail_instead() -> None:
    rig = await backed_up(Rig())
    status = await run(rig, "b1", onMissingParent="Fail")
    assert (status["phase"], rig.reason("b1")) == ("Failed", "NoParent")


async def test_a_chain_may_only_be_so_deep() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Auto"), maxChainDepth=2)
    assert rig.chain()["status"]["next"]["reason"] == "ChainTooLong"
    assert disk_types(await run(rig, "b3", "Auto")) == [("Full", "ChainTooLong")]


@pytest.mark.parametrize("on_missing_parent", ["Full", "Fail"])
async def test_after_a_damaged_parent_all_of_the_repository_is_looked_at(on_missing_parent: str) -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    (point,) = rig.world.repository.points().values()
    point.damage = "disk 0: digest of chunk 3"
    rig.create_backup("b2", type="Incremental", onMissingParent=on_missing_parent)
    wanted: list[str] = []
    rig.controller.ctx.repository_messages = _Recorded(wanted)
    await rig.run(lambda: rig.is_over("b2"))
    assert set(wanted) == {STORE}
    assert rig.reason("b2") == ("ParentUnverified" if on_missing_parent == "Fail" else "Committed")


class _Recorded(RepositoryMessages):
    def __init__(self, reported: list[str]) -> None:
        super().__init__()
        self._reported = reported

    def request_scan(self, key: ObjectKey) -> bool:
        self._reported.append(str(key))
        return super().request_scan(key)


async def test_how_an_increment_is_made_is_up_to_the_chain() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    rig.edit(kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"], parentCheck="Structure", compaction="Auto")
    rig.create_backup("b2", type="Incremental")
    await rig.run(lambda: rig.reason("b2") == "Copying")
    tasks = {task.backup: task for job in rig.world.worker_jobs() if (task := task_of(job)) is not None}
    assert (tasks["b1"].parent_check, tasks["b1"].compaction) == ("Content", "Never")
    assert (tasks["b2"].parent_check, tasks["b2"].compaction) == ("Structure", "Auto")
    assert rig.chain()["spec"]["parentCheck"] == "Structure"
    assert rig.chain()["spec"]["compaction"] == "Auto"


async def test_two_at_once_run_one_after_the_other() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    for name in ("b2", "b3"):
        rig.create_backup(name, type="Incremental")
    await rig.run(lambda: "ChainBusy" in rig.reasons().values())
    await rig.run(lambda: rig.is_over("b2") and rig.is_over("b3"))
    assert rig.world.most == 1
    parents = {name: rig.backup(name)["status"]["disks"][0]["parent"] for name in ("b2", "b3")}
    assert parents in ({"b2": "b1", "b3": "b2"}, {"b3": "b1", "b2": "b3"})


async def test_progress_of_an_increment_never_goes_back() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Incremental"))
    seen = [s["progress"] for s in rig.world.cluster.history if s["name"] == "b2" and s.get("progress")]
    percents = [progress["percent"] for progress in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert all(not progress.get("eta") for progress in seen)


async def test_the_chain_says_what_comes_next() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"))
    rig.vma.layout = {2000: 2 * GIB}
    rig.edit(kinds.PROTECTED_VM, "db", discoveryIntervalSeconds=10)
    await rig.run(lambda: rig.chain()["status"]["next"]["type"] == "Full", seconds=30)
    assert rig.chain()["status"]["next"]["reason"] == "DiskResized"
