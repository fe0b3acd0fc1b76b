"""Workers that ended without a word: what they had committed is found, whatever else is away by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.test_lifecycle import over
from tests.wiring.world import Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.reconcile.workload.worker_pod import task_of
from sendense_operator.vma.errors import VMARefused, VMAUnreachable


async def test_a_lost_answer_is_found_in_the_repository() -> None:
    rig = Rig()
    rig.world.endings["b1"] = [Ending.COMMIT_AND_VANISH]
    rig.create_references()
    rig.create_backup()
    await rig.run(over(rig))
    assert rig.phase() == "Completed"
    assert "earlier attempt" in rig.backup()["status"]["message"]
    assert len(rig.world.jobs()) == 2
    assert len(set(rig.world.jobs())) == 1
    assert len(rig.world.started) == 1
    assert rig.backup()["status"]["jobID"] == names.vma_job_id(rig.world.started[0][1]), "of who wrote it"


async def test_the_answer_of_a_pod_that_was_seen_to_go_is_enough() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    rig.world.endings["b1"] = [Ending.COMPLETE_AND_VANISH]
    await rig.run(over(rig))
    assert rig.phase() == "Completed"
    assert len(rig.world.jobs()) == 1


def vcenter_away(rig: Rig) -> None:
    rig.vma.vcenter_error = VMARefused("discover", 500, "dial tcp 10.0.0.1:443: connect: connection refused")


def appliance_away(rig: Rig) -> None:
    rig.vma.error = VMAUnreachable("health: connection refused")


def secret_gone(rig: Rig) -> None:
    rig.world.cluster.remove(kinds.SECRET, rig.world.cluster.one(kinds.SECRET, "vcenter"))


def unready(rig: Rig, reason: str) -> None:
    """The repository, and so it stays."""
    rig.world.probe = sample.failed_answer(reason)
    store = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")
    reported = sample.ready_status(reason, status="False")
    rig.world.cluster.put(kinds.BACKUP_REPOSITORY, {**store, "status": {**store["status"], **reported}})


def repository_full(rig: Rig) -> None:
    unready(rig, "RepositoryFull")


async def committed(rig: Rig, ending: Ending, happens: Callable[[Rig], object] | None = None, **spec: Any) -> Rig:
    """Return a backup of which nobody hears any more; what `happens` does so at the same moment."""
    rig.world.endings["b1"] = [ending]
    rig.create_references()
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": "NodePort"})
    rig.create_backup(retries=0, **spec)
    while not rig.world.repository.points():
        await rig.controller.work()
        rig.world.step()
    if happens is not None:
        happens(rig)
    rig.restart()  # what was found out of the VM before is forgotten
    return rig


@pytest.mark.parametrize("happens", [vcenter_away, appliance_away, secret_gone, repository_full])
@pytest.mark.parametrize("ending", [Ending.COMMIT_AND_VANISH, Ending.COMMIT_AND_DIE])
async def test_it_is_found_although_something_is_away(ending: Ending, happens: Callable[[Rig], object]) -> None:
    rig = await committed(Rig(), ending, happens)
    await rig.run(over(rig))
    assert (rig.phase(), rig.backup()["status"]["attempts"]) == ("Completed", 1)
    assert len(rig.world.started) == 1


@pytest.mark.parametrize("ending", [Ending.COMMIT_AND_VANISH, Ending.COMMIT_AND_DIE])
async def test_who_looks_can_do_nothing_else(ending: Ending) -> None:
    rig = await committed(Rig(), ending)
    await rig.run(lambda: len(rig.world.jobs()) == 2)
    (job,) = rig.world.worker_jobs()
    task = task_of(job)
    assert task is not None
    assert task.adopt_only
    assert [disk.virtual_size for disk in task.disks] == [sample.GIB]
    spec: Obj = job["spec"]["template"]["spec"]
    assert "credentials" not in {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("ending", [Ending.COMMIT_AND_VANISH, Ending.COMMIT_AND_DIE])
async def test_what_could_not_be_looked_for_in_time_is_found_by_a_scan(ending: Ending) -> None:
    """Until then it has failed, and may not lose its hold on the files."""
    rig = await committed(Rig(), ending, lambda rig: unready(rig, "StorageError"), activeDeadlineSeconds=100)
    await rig.run(lambda: rig.reason() == "RepositoryNotReady")
    await rig.run(over(rig))
    assert (rig.phase(), rig.reason()) == ("Failed", "ActiveDeadlineExceeded")
    assert names.FINALIZER_RESTORE_POINT in rig.backup()["metadata"]["finalizers"]
    rig.world.probe = Rig().world.probe
    await rig.run(lambda: rig.phase() == "Completed", seconds=1000)


async def test_cancelled_before_it_was_found() -> None:
    rig = await committed(Rig(), Ending.COMMIT_AND_DIE, lambda rig: unready(rig, "StorageError"))
    await rig.run(lambda: rig.reason() == "RepositoryNotReady")
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled" and rig.is_clean())
    rig.world.probe = Rig().world.probe
    await rig.run(lambda: rig.phase() == "Completed", seconds=1000)


async def test_a_manifest_that_has_gone_is_reported_and_not_made_again() -> None:
    rig = await committed(Rig(), Ending.COMMIT_AND_VANISH, lambda rig: rig.world.repository.chain().points.clear())
    await rig.run(over(rig))
    assert (rig.phase(), rig.reason()) == ("Failed", "WorkerDied")
    assert "its answer is lost" in rig.backup()["status"]["message"]
    assert len(rig.world.started) == 1
