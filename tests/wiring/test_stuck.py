"""Clients that hang on the appliance: counted whatever becomes of the worker, the controller, and the pods."""

from __future__ import annotations

from typing import Any

from tests.support.sample import Obj
from tests.wiring.rig import Rig
from tests.wiring.world import Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds


def status(rig: Rig) -> dict[str, Any]:
    found: dict[str, Any] = rig.world.cluster.one(kinds.APPLIANCE, "vma")["status"]
    return found


def counted(rig: Rig) -> tuple[int, list[str]]:
    return status(rig).get("stuckClients", 0), status(rig).get("stuckJobs", [])


def hangs() -> Rig:
    rig = Rig()
    rig.vma.uptime = "1h"
    rig.world.endings["b1"] = [Ending.STUCK]
    rig.create_references()
    rig.create_backup(retries=0)
    return rig


def told(rig: Rig) -> list[Obj]:
    return [event for event in rig.world.cluster.all(kinds.EVENT) if event["reason"] == "StuckClient"]


async def test_it_stays_until_the_service_was_restarted() -> None:
    rig = hangs()
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean())
    await rig.run(lambda: counted(rig)[0], seconds=10)
    job = names.vma_job_id(rig.world.started[0][1])
    assert counted(rig) == (1, [job])
    (event,) = told(rig)
    assert (event["type"], event.get("count", 1)) == ("Warning", 1)
    assert "restart the appliance's service" in event["message"]
    rig.restart()
    await rig.settle()
    assert counted(rig) == (1, [job])
    assert "restart the appliance's service" in status(rig)["conditions"][0]["message"]
    assert len(told(rig)) == 1
    rig.vma.uptime = "3s"
    await rig.settle()
    # Its pod still says so, but of a service that is gone.
    assert any(_ended_stuck(pod, job) for pod in rig.world.cluster.all(kinds.POD))
    rig.restart()
    await rig.settle()
    assert counted(rig) == (0, [])


def _ended_stuck(pod: Obj, job: str) -> bool:
    return any(job in state["state"]["terminated"]["message"] for state in pod["status"].get("containerStatuses", []))


async def test_pods_that_vanish_take_nothing_with_them() -> None:
    rig = hangs()
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean())
    await rig.run(lambda: counted(rig)[0], seconds=10)
    for job in rig.world.worker_jobs():
        rig.world.cluster.remove(kinds.JOB, job)
    await rig.settle(seconds=10)
    assert not [pod for pod in rig.world.cluster.all(kinds.POD) if names.LABEL_BACKUP in pod["metadata"]["labels"]]
    rig.restart()
    await rig.settle()
    assert counted(rig)[0] == 1


async def test_a_pod_that_goes_at_once_is_heard_all_the_same() -> None:
    rig = hangs()
    await rig.run(lambda: rig.reason() == "Copying")
    while rig.phase() == "Running" and rig.world.cluster.all(kinds.POD):
        rig.world.step()
        for pod in rig.world.cluster.all(kinds.POD):
            if pod["status"]["phase"] == "Failed":
                rig.world.cluster.remove(kinds.POD, pod)
    await rig.run(lambda: counted(rig)[0], seconds=10)


async def test_killed_after_each_write() -> None:
    calm = hangs()
    await calm.run(lambda: calm.phase() == "Failed" and calm.is_clean())
    await calm.settle()
    assert counted(calm)[0] == 1
    for moment in range(1, len(calm.world.cluster.written) + 1):
        rig = hangs()
        rig.world.cluster.kill_after = moment
        await rig.run(lambda rig=rig: rig.phase() == "Failed" and rig.is_clean())  # type: ignore[misc]
        await rig.settle()
        assert counted(rig) == counted(calm), f"killed after write {moment}"
