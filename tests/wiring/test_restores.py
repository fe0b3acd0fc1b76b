"""Restores: what is chosen, what is waited for, how they end, and that nothing is restored twice or left behind."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, status_and_reason
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.status_writer import has_finalizer

CHAIN = (("b1", "Full"), ("b2", "Incremental"))
LATEST = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}


async def protected(modes: tuple[str, ...] = ("ReadWriteOnce",), **repository: Any) -> Rig:
    """Return a chain of two restore points with one disk, and a claim that may receive it."""
    rig = Rig()
    rig.create_references(scanIntervalSeconds=2_592_000, **repository)
    rig.world.cluster.put(kinds.CLAIM, sample.claim(modes=modes))
    for name, kind in CHAIN:
        await run(rig, name, kind)
    add_claim(rig)
    return rig


def add_claim(rig: Rig, name: str = "target", size: str = "2Gi", **more: Any) -> None:
    rig.create(kinds.CLAIM, sample.claim(name, size=size, **more))


def create(rig: Rig, name: str = "r1", *, claim: str = "target", **spec: Any) -> None:
    rig.create(kinds.RESTORE, sample.restore(name, claim=claim, **spec))


def restore(rig: Rig, name: str = "r1") -> Obj:
    return rig.world.cluster.one(kinds.RESTORE, name)


def phase(rig: Rig, name: str = "r1") -> str:
    return str(restore(rig, name).get("status", {}).get("phase", ""))


def ready(rig: Rig, name: str = "r1") -> tuple[str, str]:
    return status_and_reason(restore(rig, name), "Ready")


def message(rig: Rig, name: str = "r1") -> str:
    return str(restore(rig, name)["status"]["message"])


def jobs(rig: Rig) -> list[str]:
    return [name for kind, name in rig.world.cluster.made if kind == "Job" and "-restore-" in name]


async def is_over(rig: Rig, *restores: str, seconds: int = 400) -> None:
    """Wait for the end, and for what is tidied up then."""
    await rig.run(
        lambda: all(phase(rig, name) in ("Completed", "Failed", "Cancelled") for name in restores or ("r1",)),
        seconds=seconds,
    )
    await rig.settle(seconds=70)
    assert not [name for name in restores or ("r1",) if has_finalizer(restore(rig, name), names.FINALIZER)]


async def test_a_disk_is_restored_and_read_back() -> None:
    rig = await protected()
    create(rig, backup="b2")
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    status = restore(rig)["status"]
    assert status["restorePoint"]["backupName"] == "b2"
    assert (status["phase"], status["stage"], status["progress"]["summary"][-1]) == ("Running", "Restoring", "%")
    await rig.run(lambda: ready(rig)[1] == "Verifying")
    await is_over(rig)
    status = restore(rig)["status"]
    assert (phase(rig), ready(rig)) == ("Completed", ("True", "Restored"))
    assert rig.world.restores.images == {"target": "b2"}
    assert status["disks"][0]["percent"] == status["progress"]["percent"] == 100
    assert status["disks"][0]["claimName"] == "target"
    assert (
        status["message"] == "1 disk of restore point b2: 1.0 GiB with 512 MiB of data restored, read back and compared"
    )
    assert len(jobs(rig)) == 1
    assert [event["type"] for event in rig.events("Restored")] == ["Normal"]


async def test_a_worker_that_is_faster_than_the_controller_counts() -> None:
    rig = await protected()
    create(rig)
    await rig.run(lambda: jobs(rig))
    for _ in range(60):
        rig.world.step()
    await is_over(rig)
    status = restore(rig)["status"]
    assert (ready(rig), status["attempts"]) == (("True", "Restored"), 1)
    assert status["nodeName"]
    assert status["podUID"]


async def test_only_verified() -> None:
    rig = await protected()
    create(rig, claim="", verifyOnly=True)
    await is_over(rig)
    assert ready(rig) == ("True", "Verified")
    assert rig.world.restores.images == {}
    (task,) = rig.world.restores.tasks
    assert (task.verify_only, task.disks[0].claim) == (True, "")


async def test_the_newest_undamaged_restore_point_that_a_time_allows() -> None:
    rig = await protected()
    made = [rig.backup(name)["status"]["completionTime"] for name in ("b1", "b2")]
    sources = {"newest": LATEST, "before": {**LATEST, "at": made[0]}, "latest": {**LATEST, "at": "Latest"}}
    for name, source in sources.items():
        add_claim(rig, name)
        create(rig, name, claim=name, source=source)
    await is_over(rig, *sources)
    assert rig.world.restores.images == {"newest": "b2", "before": "b1", "latest": "b2"}


async def test_damaged_restore_points_are_passed_over() -> None:
    rig = await protected()
    backup = rig.backup("b2")
    backup["status"]["conditions"].append(sample.condition("Damaged", "Damaged"))
    rig.world.cluster.put(kinds.BACKUP, backup)
    create(rig, source=LATEST)
    await is_over(rig)
    assert rig.world.restores.images == {"target": "b1"}


async def test_what_was_chosen_stays() -> None:
    """A newer restore point, or the deletion of its Backup, changes nothing of a Restore that runs."""
    rig = await protected()
    create(rig, source=LATEST)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.delete("b2")
    await run(rig, "b3", "Incremental")
    await is_over(rig)
    assert restore(rig)["status"]["restorePoint"]["backupName"] == "b2"
    assert len(jobs(rig)) == 1


async def test_manifests_in_any_order() -> None:
    rig = Rig()
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "BackupNotFound")
    rig.create_references()
    await run(rig, "b1", "Full")
    await rig.run(lambda: ready(rig)[1] == "ClaimNotFound")
    add_claim(rig)
    await is_over(rig)
    assert phase(rig) == "Completed"


async def test_slots_in_the_order_of_creation() -> None:
    rig = await protected()
    for number in range(5):
        add_claim(rig, f"c{number}")
        create(rig, f"r{number}", claim=f"c{number}")
        rig.world.step()
    await rig.run(lambda: ready(rig, "r4")[1] == "WaitingForSlot" and "position 3" in message(rig, "r4"))
    assert message(rig, "r4").startswith("2 of 2 restores run from BackupRepository store")
    await is_over(rig, *(f"r{number}" for number in range(5)))
    assert [task.restore for task in rig.world.restores.tasks] == [f"r{number}" for number in range(5)]


async def test_retries_continue_in_another_pod() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.FAIL, Ending.DIE]
    create(rig)
    await is_over(rig)
    assert (phase(rig), restore(rig)["status"]["attempts"]) == ("Completed", 3)
    assert len(jobs(rig)) == 1
    assert len(rig.events("Retrying")) == 2


@pytest.mark.parametrize(
    ("endings", "reason", "attempts"),
    [([Ending.FATAL], "Stalled", 1), ([Ending.FAIL] * 3, "VMAUnreachable", 3), ([Ending.DIE] * 3, "WorkerDied", 3)],
)
async def test_failures_end_it(endings: list[Ending], reason: str, attempts: int) -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = list(endings)
    create(rig)
    await is_over(rig)
    assert phase(rig) == "Failed"
    assert restore(rig)["status"]["attempts"] == attempts
    if reason != "Stalled":
        assert ready(rig)[1] == reason


async def test_an_answer_that_nobody_saw_is_found_out_again() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.COMPLETE_AND_VANISH]
    create(rig)
    await is_over(rig)
    assert phase(rig) == "Completed"
    assert len(jobs(rig)) == 2


async def test_damage_fails_it_and_has_the_repository_scanned() -> None:
    rig = await protected()
    rig.world.restores.damaged.add("b2")
    rig.world.repository.points()[rig.backup("b2")["metadata"]["uid"]].damage = "disk 0: byte 0"
    create(rig, backup="b2")
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", "RestorePointDamaged")
    assert rig.world.restores.images == rig.world.restores.partials == {}
    await rig.run(lambda: status_and_reason(rig.backup("b2"), "Damaged")[0] == "True")


async def test_allowed_damage_is_listed() -> None:
    rig = await protected()
    rig.world.restores.damaged.add("b2")
    create(rig, backup="b2", allowDamaged=True)
    await is_over(rig)
    assert ready(rig) == ("True", "RestoredWithDamage")
    (disk,) = restore(rig)["status"]["disks"]
    assert (disk["damagedBytes"], disk["damaged"]) == (1 << 22, [{"offset": 0, "length": 1 << 22}])
    assert [event["type"] for event in rig.events("RestoredWithDamage")] == ["Warning"]
    assert "except 4.0 MiB that are damaged in the restore point and zeroes in the target" in message(rig)


@pytest.mark.parametrize("reason", ["", "ClaimNotFound", "Starting", "Restoring"])
async def test_cancelled_at_each_stage(reason: str) -> None:
    rig = await protected()
    create(rig, claim="nowhere" if reason == "ClaimNotFound" else "target")
    await rig.run(lambda: not reason or ready(rig)[1] == reason)
    rig.edit(kinds.RESTORE, "r1", cancel=True)
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Cancelled", "Cancelled")
    assert rig.world.restores.images == rig.world.restores.partials == {}


async def test_deleted_while_it_runs() -> None:
    """Its worker is requested to stop, so that it removes what is unfinished, before the object goes."""
    rig = await protected()
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.run(lambda: not rig.world.cluster.all(kinds.RESTORE))
    await rig.settle(seconds=30)
    assert rig.world.restores.partials == {}
    assert not [job for job in rig.world.cluster.all(kinds.JOB) if "-restore-" in job["metadata"]["name"]]


async def test_deleted_with_a_worker_that_does_not_stop() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.HANG]
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.world.mute = rig.world.stuck = True
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.run(lambda: not rig.world.cluster.all(kinds.RESTORE))
    assert len(rig.events("WorkerLeftBehind")) == 1


async def test_deadlines() -> None:
    rig = await protected()
    create(rig, "late", backup="none", startDeadlineSeconds=30)
    add_claim(rig, "other")
    rig.world.restores.endings["long"] = [Ending.HANG]
    create(rig, "long", claim="other", activeDeadlineSeconds=60)
    await is_over(rig, "late", "long")
    assert ready(rig, "late")[1] == "StartDeadlineExceeded"
    assert "it waited for BackupNotFound: there is no Backup none" in message(rig, "late")
    assert ready(rig, "long")[1] == "ActiveDeadlineExceeded"


async def test_a_lost_node_ends_it() -> None:
    rig = await protected()
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.world.lose_node()
    await rig.run(lambda: ready(rig)[1] == "Unreachable")
    await rig.run(lambda: phase(rig) == "Failed", seconds=900)
    assert ready(rig)[1] == "NodeLost"


@pytest.mark.parametrize("writes", range(1, 12))
async def test_killed_at_each_write(writes: int) -> None:
    """One Job, one image, one result, however often the controller begins anew."""
    rig = await protected()
    rig.kill_after(writes)
    create(rig)
    await is_over(rig)
    assert (phase(rig), ready(rig)) == ("Completed", ("True", "Restored"))
    assert rig.world.restores.images == {"target": "b1"}
    assert len(jobs(rig)) == len(rig.world.restores.tasks) == 1


@pytest.mark.parametrize("writes", range(1, 6))
async def test_killed_at_each_write_of_a_cancellation(writes: int) -> None:
    rig = await protected()
    create(rig)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.kill_after(writes)
    rig.edit(kinds.RESTORE, "r1", cancel=True)
    await is_over(rig)
    assert phase(rig) == "Cancelled"
    assert rig.world.restores.partials == {}


async def test_a_quiet_restore_writes_nothing() -> None:
    rig = await protected()
    create(rig)
    await is_over(rig)
    before = len(rig.world.cluster.written)
    await rig.settle(seconds=60)
    assert rig.world.cluster.written[before:].count("Restore") == 0
