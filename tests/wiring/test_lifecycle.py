"""A Backup from its creation to its end in a world that moves: objects come, Jobs make pods, pods end in all ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.world import Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.reconcile.state.kubernetes_objects import ready_condition
from sendense_operator.vma.errors import VMAUnreachable


def over(rig: Rig, *backups: str) -> Callable[[], bool]:
    return lambda: all(rig.is_over(name) for name in backups or ("b1",)) and rig.is_clean()


async def test_objects_may_come_in_any_order() -> None:
    rig = Rig()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "VMNotFound")
    rig.create(kinds.PROTECTED_VM, sample.protected_vm())
    await rig.run(lambda: rig.reason() == "RepositoryNotFound", seconds=20)
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    await rig.run(lambda: rig.reason() == "ApplianceNotFound", seconds=20)
    rig.create(kinds.APPLIANCE, sample.appliance())
    await rig.run(lambda: rig.reason() == "SecretNotFound", seconds=20)
    rig.create_secret()
    await rig.run(lambda: rig.reason() == "RepositoryNotReady", seconds=80)
    assert "ClaimNotFound" in rig.backup()["status"]["message"]
    rig.create(kinds.CLAIM, sample.claim())
    await rig.run(over(rig))
    assert rig.phase() == "Completed"
    assert {s["phase"] for s in rig.world.cluster.history} == {"Pending", "Running", "Completed"}
    assert rig.controller.errors == []


async def test_what_is_there_in_the_end() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(over(rig))
    await rig.settle()
    status = rig.backup()["status"]
    assert [c["type"] for c in status["conditions"]] == ["Ready"]
    assert status["jobID"] == names.vma_job_id(rig.world.started[0][1])
    assert (status["attempts"], status["nodeName"], status["repositoryID"]) == (1, "n1", "repo-1")
    labels = rig.backup()["metadata"]["labels"]
    assert (labels[names.LABEL_PHASE], labels[names.LABEL_VM]) == ("Completed", "db")
    chain = rig.world.cluster.one(kinds.BACKUP_CHAIN, status["chainName"])
    assert (chain["status"]["points"], chain["status"]["latestBackup"]) == (1, "b1")
    repository = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")["status"]
    assert (repository["activeBackups"], repository["capacity"]["freeBytes"]) == (0, 50 * sample.GIB)
    assert rig.world.cluster.one(kinds.APPLIANCE, "vma")["status"]["activeBackups"] == 0


async def test_progress_never_falls_and_is_not_whole_before_the_end() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(over(rig))
    seen = [(s["phase"], s["progress"]["percent"]) for s in rig.world.cluster.history if s.get("progress")]
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents)
    assert len(set(percents)) > 2
    assert all(percent < 100 for phase, percent in seen if phase == "Running")


async def test_an_idle_operator_writes_nothing() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(over(rig))
    await rig.settle()
    before = len(rig.world.cluster.written)
    rig.restart()
    await rig.settle(seconds=100)
    assert len(rig.world.cluster.written) == before


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.FATAL])
async def test_an_edit_after_the_end_is_seen(ending: Ending) -> None:
    """By kstatus, an older observedGeneration means that there is work to do; by us, that nothing is known."""
    rig = Rig()
    rig.world.endings["b1"] = [ending]
    rig.create_references()
    rig.create_backup()
    await rig.run(over(rig))
    await rig.settle(seconds=5)
    before = rig.backup()["status"]
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    await rig.settle(seconds=2)
    after = rig.backup()["status"]
    assert (before["observedGeneration"], after["observedGeneration"]) == (1, 2)
    assert {condition["observedGeneration"] for condition in after["conditions"]} == {2}
    assert ready_condition(rig.backup()) is not None
    assert _without_generations(after) == _without_generations(before)
    assert rig.controller.errors == []


def _without_generations(status: Obj) -> Obj:
    kept = {key: value for key, value in status.items() if key not in ("observedGeneration", "conditions")}
    return {**kept, "conditions": [{**c, "observedGeneration": None} for c in status["conditions"]]}


@pytest.mark.parametrize(
    ("endings", "phase", "reason", "attempts", "jobs"),
    [
        ([Ending.FAIL], "Completed", "Committed", 2, 1),
        ([Ending.DIE, Ending.FAIL], "Completed", "Committed", 3, 1),
        ([Ending.FAIL] * 3, "Failed", "VMAUnreachable", 3, 1),
        ([Ending.DIE] * 3, "Failed", "WorkerDied", 3, 2),
        ([Ending.FAIL, Ending.FAIL, Ending.DIE], "Failed", "WorkerDied", 3, 2),
        ([Ending.DIE] * 9, "Failed", "WorkerDied", 3, 2),
        ([Ending.DIE, Ending.DIE, Ending.COMMIT_AND_DIE], "Completed", "Committed", 3, 2),
        ([Ending.FATAL], "Failed", "WritesLost", 1, 1),
        ([Ending.FAIL, Ending.FATAL], "Failed", "WritesLost", 2, 1),
        ([Ending.EVICTED] * 4, "Completed", "Committed", 5, 1),
    ],
)
async def test_attempts(endings: list[Ending], phase: str, reason: str, attempts: int, jobs: int) -> None:
    rig = Rig()
    rig.world.endings["b1"] = list(endings)
    rig.create_references()
    rig.create_backup()
    await rig.run(over(rig))
    assert (rig.phase(), rig.reason(), rig.backup()["status"]["attempts"]) == (phase, reason, attempts)
    assert (len(rig.world.jobs()), len(rig.world.started)) == (jobs, attempts)
    assert attempts == 1 or "Retrying" in rig.reported()
    assert bool(rig.world.repository.names()) is (phase == "Completed")
    assert reason != "WorkerDied" or "exit code 137" in rig.backup()["status"]["message"]


@pytest.mark.parametrize(
    ("endings", "phase", "reason"),
    [
        ([Ending.FAIL], "Failed", "VMAUnreachable"),
        ([Ending.DIE], "Failed", "WorkerDied"),
        ([Ending.FATAL], "Failed", "WritesLost"),
        ([Ending.COMMIT_AND_DIE], "Completed", "Committed"),
        ([Ending.EVICTED, Ending.FAIL], "Failed", "VMAUnreachable"),
    ],
)
async def test_without_retries_nothing_is_called_a_retry(endings: list[Ending], phase: str, reason: str) -> None:
    """Not even between the end of the last pod and that of its Job."""
    rig = Rig()
    rig.world.endings["b1"] = list(endings)
    rig.create_references()
    rig.create_backup(retries=0)
    await rig.run(over(rig))
    assert (rig.phase(), rig.reason()) == (phase, reason)
    assert "Retrying" not in rig.reported()
    assert "Retrying" not in [event["reason"] for event in rig.world.cluster.all(kinds.EVENT)]


async def test_a_lost_node_fails_its_backup_but_not_at_once() -> None:
    rig = Rig(node_lost_seconds=60)
    await rig.run_until_it_copies()
    rig.world.lose_node()
    before = rig.world.clock.seconds
    await rig.run(lambda: rig.phase() == "Failed")
    assert rig.reason() == "NodeLost"
    assert rig.world.clock.seconds - before == pytest.approx(60, abs=10)
    assert "Unreachable" in rig.reported()
    await rig.run(lambda: names.FINALIZER not in rig.backup()["metadata"]["finalizers"])
    # The pod may still write: its Job stays, and keeps the VM's turn.
    rig.create_backup("b2")
    await rig.run(lambda: rig.reason("b2") == "ChainBusy", seconds=30)


async def test_a_worker_that_can_not_be_reached_goes_on() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    rig.world.mute = True
    await rig.run(over(rig))
    assert rig.phase() == "Completed"


@pytest.mark.parametrize("lasts", [30, 300])
async def test_an_appliance_that_is_away(lasts: int) -> None:
    rig = Rig()
    rig.vma.error = VMAUnreachable("health: connection refused")
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "ApplianceNotReady")
    await rig.settle(seconds=lasts)
    rig.vma.error = None
    await rig.run(over(rig))
    assert rig.phase() == ("Completed" if lasts < rig.settings.appliance_patience_seconds else "Failed")


async def test_a_repository_that_fills_up_is_looked_at_again() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(over(rig))
    rig.world.probe = sample.failed_answer("RepositoryFull", "10 MiB are free")
    rig.world.endings["b2"] = [Ending.FULL]
    rig.create_backup("b2")
    await rig.run(over(rig, "b2"))
    assert (rig.phase("b2"), rig.reason("b2")) == ("Failed", "RepositoryFull")
    await rig.run(lambda: not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=10)
    rig.create_backup("b3")
    await rig.run(lambda: rig.reason("b3") == "RepositoryNotReady", seconds=60)
    assert "RepositoryFull" in rig.backup("b3")["status"]["message"]


async def test_two_backups_of_one_vm_run_one_after_the_other() -> None:
    rig = Rig()
    rig.create_references()
    rig.create_backup("b1")
    rig.create_backup("b2")
    await rig.run(over(rig, "b1", "b2"))
    assert set(rig.phases().values()) == {"Completed"}
    assert rig.world.most == 1
    assert "ChainBusy" in rig.reported("b1") + rig.reported("b2")


async def test_one_vm_through_two_appliances_has_one_job_at_a_time() -> None:
    """A job that starts deletes the snapshots that another one of the VM works from."""
    rig = Rig()
    rig.create_references()
    there = {"host": "VCenter.example", "credentialsSecretRef": {"name": "vcenter"}}
    rig.create(kinds.APPLIANCE, sample.appliance("other", vcenter=there))
    rig.create(kinds.PROTECTED_VM, sample.protected_vm("db-too", path="/DC1/vm/db", applianceRef={"name": "other"}))
    rig.create_backup("b1")
    rig.create_backup("b2", vm="db-too")
    await rig.run(over(rig, "b1", "b2"))
    assert set(rig.phases().values()) == {"Completed"}
    assert rig.world.most == 1
    assert "VMBusy" in rig.reported("b1") + rig.reported("b2")


async def test_slots_are_filled_in_order_and_never_overfilled() -> None:
    rig = Rig()
    rig.create_references(maxConcurrentBackups=3)
    backups = [f"b{number}" for number in range(8)]
    for number, name in enumerate(backups):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
        rig.create_backup(name, vm=f"vm{number}")
        rig.world.clock.seconds += 1
    await rig.run(lambda: "WaitingForSlot" in rig.reasons().values())
    await rig.run(over(rig, *backups))
    assert set(rig.phases().values()) == {"Completed"}
    assert rig.world.most == 3
    assert [backup for backup, _ in rig.world.started] == backups


async def test_a_claim_for_one_pod_gets_one_worker() -> None:
    rig = Rig()
    rig.create_references()
    rig.create(kinds.CLAIM, sample.claim(modes=("ReadWriteOncePod",)))
    for number in range(3):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
        rig.create_backup(f"b{number}", vm=f"vm{number}")
    await rig.run(over(rig, "b0", "b1", "b2"))
    assert rig.world.most == 1


async def test_a_name_that_begins_with_a_digit() -> None:
    """A Service may not, the Backup may."""
    rig = Rig()
    rig.create_references()
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": "NodePort"})
    rig.create_backup("2024-db")
    await rig.run(lambda: rig.reason("2024-db") == "Copying")
    assert rig.world.cluster.all(kinds.SERVICE)
    await rig.run(over(rig, "2024-db"))
    assert rig.phase("2024-db") == "Completed"


async def test_host_ports_never_collide() -> None:
    rig = Rig()
    rig.vma.disks = 2
    rig.create_references(maxConcurrentBackups=9)
    nbd = {"exposure": "HostPort", "portRange": {"first": 10100, "last": 10104}}
    rig.edit(kinds.APPLIANCE, "vma", nbd=nbd)
    for number in range(5):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
        rig.create_backup(f"b{number}", vm=f"vm{number}")
    await rig.run(over(rig, *(f"b{number}" for number in range(5))))
    assert rig.world.most == 2
    assert rig.world.collisions == 0
