"""Restores into VirtualMachines: made at the end or not at all, and what is said before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run
from tests.wiring.test_restores import add_claim, create, is_over, jobs, message, phase, ready, restore

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, InvalidError, NotFoundError, UnavailableError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.vm_hardware import Hardware, NetworkCard

LAN = "00:50:56:ab:00:01"
HARDWARE = Hardware(
    processors=4,
    memory_bytes=8 << 30,
    guest_os="ubuntu64Guest",
    network_cards=(NetworkCard(network="LAN", mac_address=LAN),),
    datastores=("ssd",),
)
TABLES = {
    "storageClasses": [{"datastore": "ssd", "storageClassName": "fast"}],
    "networks": [{"network": "LAN", "multus": "lan"}],
}


async def protected(hardware: Hardware | None = HARDWARE) -> Rig:
    """Return a restore point whose manifest has this hardware."""
    rig = Rig()
    rig.world.repository.hardware = hardware
    rig.create_references(scanIntervalSeconds=2_592_000)
    rig.create(kinds.STORAGE_CLASS, {"metadata": {"name": "fast", "uid": "fast"}})
    await run(rig, "b1", "Full")
    return rig


def create_machine(rig: Rig, spec: dict[str, Any] | None = None, **machine: Any) -> None:
    create(rig, target={"virtualMachine": {"name": "web", **TABLES, **machine}}, **spec or {})


def machines(rig: Rig) -> list[Obj]:
    return rig.world.cluster.all(kinds.VIRTUAL_MACHINE)


def owners(obj: Obj) -> list[str]:
    return [reference["kind"] for reference in obj["metadata"].get("ownerReferences") or []]


def failing(rig: Rig, error: ClusterError, *, after_jobs: bool = False, verb: str = "create") -> None:
    """Let calls for VirtualMachines end with an error; `after_jobs`: only when the worker's Job exists."""

    def fails(called: str, kind: Kind) -> ClusterError | None:
        concerned = kind == kinds.VIRTUAL_MACHINE and called == verb and (bool(jobs(rig)) or not after_jobs)
        return error if concerned else None

    rig.world.cluster.failing = fails


async def test_the_status_of_a_backup_has_the_hardware() -> None:
    rig = await protected()
    assert rig.backup("b1")["status"]["hardware"] == {
        "processors": 4,
        "memoryBytes": 8 << 30,
        "guestOS": "ubuntu64Guest",
        "networkCards": [{"network": "LAN", "macAddress": LAN}],
        "datastores": ["ssd"],
    }


async def test_a_scan_brings_hardware_that_a_status_lacks() -> None:
    """Of a Backup whose worker's answer had no room for it, and of a restore point that is adopted."""
    rig = await protected()
    known = rig.backup("b1")["status"]["hardware"]
    short = rig.backup("b1")
    del short["status"]["hardware"]
    rig.world.cluster.put(kinds.BACKUP, short)
    rig.world.repository.commit_unheard("found", sample.uid_of("found"), rig.world.clock.now())
    rig.ask_for_a_scan()
    await rig.run(lambda: all("hardware" in one["status"] for one in rig.world.cluster.all(kinds.BACKUP)))
    assert [one["status"]["hardware"] for one in rig.world.cluster.all(kinds.BACKUP)] == [known, known]


@pytest.mark.parametrize("writes", [None, *range(1, 16)])
async def test_a_machine_is_made_and_stays(writes: int | None) -> None:
    """It belongs to the Restore only until that is Completed, at whichever write the controller dies."""
    rig = await protected()
    rig.kill_after(writes)
    create_machine(rig)
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    assert machines(rig) == [], "nothing that looks finished"
    assert restore(rig)["status"]["virtualMachine"]["processors"] == 4
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Completed", "Restored")
    assert message(rig).endswith("VirtualMachine web has them as its disks, and is not started")
    assert rig.world.restores.images == {"web-disk-0": "b1"}
    (machine,) = machines(rig)
    claim = rig.world.cluster.one(kinds.CLAIM, "web-disk-0")
    assert (owners(machine), owners(claim)) == ([], [])
    assert claim["spec"]["storageClassName"] == "fast"
    assert machine["spec"]["runStrategy"] == "Halted"
    assert machine["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.settle(seconds=10)
    assert [one["metadata"]["uid"] for one in machines(rig)] == [machine["metadata"]["uid"]]
    assert rig.world.cluster.one(kinds.CLAIM, "web-disk-0")


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (NotFoundError("404 page not found"), "KubeVirtNotFound", "install KubeVirt"),
        (ForbiddenError("no"), "VirtualMachineForbidden", "may not create VirtualMachine web: no"),
        (InvalidError("spec: bad"), "VirtualMachineRejected", "does not accept VirtualMachine web: spec: bad"),
    ],
)
async def test_nothing_is_written_while_no_machine_could_be_made(error: ClusterError, reason: str, words: str) -> None:
    rig = await protected()
    failing(rig, error)
    create_machine(rig)
    await rig.run(lambda: ready(rig)[1] == reason)
    assert words in message(rig)
    await rig.settle(seconds=10)
    assert (phase(rig), jobs(rig)) == ("Pending", [])
    assert "web-disk-0" not in [claim["metadata"]["name"] for claim in rig.world.cluster.all(kinds.CLAIM)]
    rig.world.cluster.failing = lambda verb, kind: None
    await is_over(rig)
    assert phase(rig) == "Completed"


async def test_a_machine_of_that_name() -> None:
    rig = await protected()
    rig.create(kinds.VIRTUAL_MACHINE, {"metadata": sample.metadata("VirtualMachine", "web"), "spec": {}})
    create_machine(rig)
    await is_over(rig)
    assert (phase(rig), ready(rig)[1], jobs(rig)) == ("Failed", "VirtualMachineExists", [])
    assert len(machines(rig)) == 1


async def test_a_claim_of_that_name() -> None:
    rig = await protected()
    add_claim(rig, "web-disk-0")
    create_machine(rig)
    await is_over(rig)
    assert (ready(rig)[1], jobs(rig), machines(rig)) == ("ClaimExists", [], [])
    assert "choose another spec.target.virtualMachine.name" in message(rig)


async def test_a_storage_class_that_is_missing_is_waited_for() -> None:
    rig = await protected()
    create_machine(rig, storageClasses=[{"datastore": "ssd", "storageClassName": "slow"}])
    await rig.run(lambda: ready(rig)[1] == "StorageClassNotFound")
    assert "no StorageClass slow" in message(rig)
    rig.create(kinds.STORAGE_CLASS, {"metadata": {"name": "slow", "uid": "slow"}})
    await is_over(rig)
    assert rig.world.cluster.one(kinds.CLAIM, "web-disk-0")["spec"]["storageClassName"] == "slow"


@pytest.mark.parametrize(
    ("hardware", "machine", "reason", "words"),
    [
        (None, {}, "HardwareUnknown", "status of Backup b1 does not say processors, memoryBytes"),
        (HARDWARE, {"networks": []}, "NetworkNotMapped", 'no network for "LAN"'),
        (
            HARDWARE,
            {"storageClasses": [{"datastore": "hdd", "storageClassName": "fast"}]},
            "DatastoreNotMapped",
            'no StorageClass for "ssd" of disk 0',
        ),
    ],
)
async def test_what_is_not_known_or_mapped(hardware: Any, machine: dict[str, Any], reason: str, words: str) -> None:
    rig = await protected(hardware)
    create_machine(rig, **machine)
    await is_over(rig)
    assert (phase(rig), ready(rig)[1], jobs(rig)) == ("Failed", reason, [])
    assert words in restore(rig)["status"]["conditions"][0]["message"]


async def test_an_older_restore_point_with_hardware_from_the_spec() -> None:
    rig = await protected(None)
    create_machine(rig, storageClasses=[], hardware={"processors": 2, "memoryBytes": 1 << 30, "diskBus": "SCSI"})
    await is_over(rig)
    assert phase(rig) == "Completed"
    (machine,) = machines(rig)
    spec = machine["spec"]["template"]["spec"]
    assert (spec["domain"]["cpu"]["cores"], spec["networks"]) == (2, [])
    assert spec["domain"]["devices"]["disks"][0]["disk"] == {"bus": "scsi"}


async def test_a_failed_restore_leaves_no_machine() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.FATAL]
    create_machine(rig)
    await is_over(rig)
    assert (phase(rig), machines(rig)) == ("Failed", [])
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.settle(seconds=10)
    assert "web-disk-0" not in [claim["metadata"]["name"] for claim in rig.world.cluster.all(kinds.CLAIM)]


async def test_a_machine_that_can_not_be_made_at_the_end_is_waited_for() -> None:
    rig = await protected()
    failing(rig, InvalidError("quota"), after_jobs=True)
    create_machine(rig)
    await rig.run(lambda: ready(rig)[1] == "VirtualMachineNotCreated")
    await rig.settle(seconds=30)
    assert (phase(rig), machines(rig)) == ("Running", [])
    assert "VirtualMachineRejected: KubeVirt does not accept VirtualMachine web: quota" in message(rig)
    assert [event["type"] for event in rig.events("VirtualMachineNotCreated")] == ["Warning"]
    rig.world.cluster.failing = lambda verb, kind: None
    await is_over(rig)
    assert (phase(rig), len(machines(rig)), len(rig.world.restores.tasks)) == ("Completed", 1, 1)


async def test_waiting_for_the_machine_has_a_deadline() -> None:
    rig = await protected()
    failing(rig, InvalidError("quota"), after_jobs=True)
    create_machine(rig, {"activeDeadlineSeconds": 60})
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", "VirtualMachineRejected")
    assert "longer than spec.activeDeadlineSeconds" in restore(rig)["status"]["conditions"][0]["message"]
    assert owners(rig.world.cluster.one(kinds.CLAIM, "web-disk-0")) == ["Restore"]


async def test_cancelled_while_the_machine_can_not_be_made() -> None:
    rig = await protected()
    failing(rig, InvalidError("quota"), after_jobs=True)
    create_machine(rig)
    await rig.run(lambda: ready(rig)[1] == "VirtualMachineNotCreated")
    rig.edit(kinds.RESTORE, "r1", cancel=True)
    await is_over(rig)
    assert (phase(rig), machines(rig)) == ("Cancelled", [])


async def test_a_machine_is_removed_when_the_restore_fails_after_all() -> None:
    """It was made, but the end could not be written, and then the answer was lost with its pod."""
    rig = await protected()
    create_machine(rig)

    def unwritten(verb: str, kind: Kind) -> ClusterError | None:
        return UnavailableError("later") if verb == "apply" and kind == kinds.RESTORE and machines(rig) else None

    rig.world.cluster.failing = unwritten
    await rig.run(lambda: machines(rig))
    rig.world.restores.endings["r1"] = [Ending.FATAL]
    for (kind, _, name), obj in list(rig.world.cluster.objects.items()):
        if kind == "Pod" and "-restore-" in name:
            rig.world.cluster.remove(kinds.POD, obj)
    rig.restart()
    rig.world.cluster.failing = lambda verb, kind: None
    await is_over(rig)
    assert (phase(rig), machines(rig)) == ("Failed", [])
