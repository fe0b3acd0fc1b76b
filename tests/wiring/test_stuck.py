"""Clients that hang on the appliance, and callbacks that arrive elsewhere: as all gateways together see them."""

from __future__ import annotations

import pytest
from tests.support.objects import Obj, find_condition, status_and_reason
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.reconcile.state.unrouted_calls import FORGET_S, STUCK_AFTER_S


def appliance(rig: Rig) -> Obj:
    return rig.world.cluster.one(kinds.APPLIANCE, "vma")


def status(rig: Rig) -> Obj:
    found: Obj = appliance(rig)["status"]
    return found


def counted(rig: Rig) -> tuple[int, list[str]]:
    return status(rig).get("stuckClients", 0), status(rig).get("stuckJobs", [])


def hangs(ending: Ending = Ending.STUCK) -> Rig:
    rig = Rig()
    rig.world.endings["b1"] = [ending]
    rig.create_references()
    rig.create_backup(retries=0)
    return rig


def pod_uid(rig: Rig) -> str:
    """Of the running worker."""
    (pod,) = [pod for pod in rig.world.cluster.all(kinds.POD) if names.LABEL_BACKUP in pod["metadata"]["labels"]]
    return str(pod["metadata"]["uid"])


async def ended(rig: Rig) -> str:
    """Return the job whose client hangs, once its Backup is over."""
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean())
    await rig.run(lambda: counted(rig)[0], seconds=40)
    return names.vma_job_id(rig.world.started[0][1])


@pytest.mark.parametrize("ending", [Ending.STUCK, Ending.DIE_AND_LEAVE_A_CLIENT])
async def test_it_is_counted_until_its_telemetry_ends(ending: Ending) -> None:
    """Also that of a worker which died without a word: the likeliest way."""
    rig = hangs(ending)
    job = await ended(rig)
    assert counted(rig) == (1, [job])
    (event,) = rig.events("StuckClient")
    assert (event["type"], event.get("count", 1)) == ("Warning", 1)
    assert "restart the appliance's service" in event["message"]
    rig.restart()
    await rig.settle(seconds=int(FORGET_S + STUCK_AFTER_S) + 120)
    assert counted(rig) == (1, [job])
    assert "restart the appliance's service" in status(rig)["conditions"][0]["message"]
    assert len(rig.events("StuckClient")) == 1
    rig.world.gateways.clients_end()
    await rig.settle(seconds=int(FORGET_S) + 20)
    assert counted(rig) == (0, [])
    rig.restart()
    await rig.settle()
    assert counted(rig) == (0, [])


async def test_a_controller_that_just_started_forgets_nobody() -> None:
    rig = hangs()
    job = await ended(rig)
    rig.world.gateways.away = True
    rig.restart()
    await rig.settle(seconds=200)
    assert counted(rig) == (1, [job]), "no gateway has answered: nothing is known"
    rig.world.gateways.away = False
    rig.world.gateways.clients_end()
    await rig.settle(seconds=int(FORGET_S + STUCK_AFTER_S) + 90)
    assert counted(rig) == (0, [])


async def test_telemetry_of_a_running_worker_is_none() -> None:
    """A gateway may not know a new pod yet."""
    rig = hangs(Ending.HANG)
    await rig.run(lambda: rig.reason() == "Copying")
    rig.world.gateways.client_hangs(names.vma_job_id(pod_uid(rig)))
    await rig.settle(seconds=90)
    assert counted(rig) == (0, [])


async def test_killed_after_each_write() -> None:
    calm = hangs()
    await ended(calm)
    await calm.settle()
    assert counted(calm)[0] == 1
    for moment in range(1, len(calm.world.cluster.written) + 1):
        rig = hangs()
        rig.world.cluster.kill_after = moment
        await ended(rig)
        await rig.settle()
        assert counted(rig) == counted(calm), f"killed after write {moment}"


def kinds_reported(rig: Rig) -> list[str]:
    return sorted(event["involvedObject"]["kind"] for event in rig.events("CallbacksElsewhere"))


async def test_callbacks_at_another_objects_path_are_named_within_seconds() -> None:
    rig = hangs(Ending.HANG)
    await rig.run(lambda: rig.reason() == "Copying")
    rig.world.gateways.stray_call(pod_uid(rig), "other")
    await rig.run(lambda: rig.reason() == "CallbacksElsewhere", seconds=12)
    await rig.run(lambda: len(rig.events("CallbacksElsewhere")) == 2, seconds=12)
    for event in rig.events("CallbacksElsewhere"):
        assert event["type"] == "Warning"
        assert "VMwareAppliance other" in event["message"]
        assert "status.callbackURL of VMwareAppliance vma" in event["message"]
    assert kinds_reported(rig) == ["Backup", "VMwareAppliance"]
    assert status_and_reason(appliance(rig), "CallbacksArrive") == ("False", "CallbacksElsewhere")
    assert "VMwareAppliance other" in find_condition(rig.backup()["status"], "Ready")["message"]
    await rig.settle(seconds=1000)
    assert not find_condition(status(rig), "CallbacksArrive")
    assert kinds_reported(rig) == ["Backup", "VMwareAppliance"]


async def test_callbacks_that_arrive_nowhere_are_named_until_they_come() -> None:
    rig = hangs(Ending.HANG)
    rig.world.uncalled = True
    await rig.run(lambda: rig.reason() == "CallbacksElsewhere", seconds=30)
    assert rig.phase() == "Running", "its worker copies"
    await rig.run(lambda: kinds_reported(rig) == ["Backup", "VMwareAppliance"], seconds=12)
    assert all("none of its callbacks has arrived" in event["message"] for event in rig.events("CallbacksElsewhere"))
    rig.world.uncalled = False
    await rig.run(lambda: rig.reason() == "Copying", seconds=12)
    await rig.run(lambda: not find_condition(status(rig), "CallbacksArrive"), seconds=30)
