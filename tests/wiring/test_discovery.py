"""From vCenter's VMs to ProtectedVMs, and what becomes of them when the VMs move, go, come back and are cloned."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import GIB, vm_uuid
from tests.wiring.discoveryworld import INTERVAL, World, vm

from sendense_operator.api.v1alpha1.names import LABEL_DISCOVERED_BY
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, InvalidError, UnavailableError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.reconcile.vcenter.discovery_reconciler import PAUSE_S, STEPS
from sendense_operator.vma.errors import VMARefused, VMAUnreachable


def refusing(verb: str, error: ClusterError) -> Any:
    """Return the API server refuses that for ProtectedVMs."""

    def failing(call: str, kind: Kind) -> ClusterError | None:
        return error if (call, kind) == (verb, kinds.PROTECTED_VM) else None

    return failing


async def test_what_is_made_of_a_vm() -> None:
    rig = await World(vm(1, "/DC1/vm/prod/DB 01", disks=2, power_state="poweredOn"), vm(2)).found()
    obj = rig.objects()["prod/DB 01"]
    assert obj["metadata"]["name"].startswith("db-01-")
    assert obj["metadata"]["labels"] == {LABEL_DISCOVERED_BY: "vma"}
    assert "ownerReferences" not in obj["metadata"]
    assert (obj["spec"]["applianceRef"], obj["spec"]["uuid"]) == ({"name": "vma"}, vm_uuid(1))
    status = obj["status"]
    assert [(d["index"], d["key"], d["virtualSize"]) for d in status["disks"]] == [(0, 2016, GIB), (1, 2015, GIB + 1)]
    assert (status["vmName"], status["powerState"], status["cbtEnabled"]) == ("DB 01", "poweredOn", True)
    assert rig.vm_reason("prod/DB 01", "ChangeTracking") == "Enabled"
    reported = rig.reported()
    assert (reported["vms"], reported["matched"], reported["created"], reported["pending"], reported["vanished"]) == (
        2,
        2,
        2,
        0,
        0,
    )
    assert reported["lastTime"]
    assert rig.controller.errors == []


async def test_only_those_that_are_requested() -> None:
    rig = World(
        vm(1, "/DC1/vm/prod/db1"),
        vm(2, "/DC1/vm/prod/db2-test"),
        vm(3, "/DC1/vm/db3"),
        folder="prod",
        namePatterns=["db*"],
        excludePatterns=["*-test"],
    )
    await rig.found()
    assert list(rig.objects()) == ["prod/db1"]
    assert (rig.reported()["vms"], rig.reported()["matched"]) == (3, 1)


async def test_a_dry_run_makes_nothing_and_says_what_it_would_make() -> None:
    rig = World(*(vm(number) for number in range(60)), dryRun=True)
    await rig.run(lambda: rig.verdict() == ("True", "DryRun"))
    assert rig.objects() == {}
    reported = rig.reported()
    assert (reported["matched"], reported["pending"], len(reported["planned"])) == (60, 60, 50)
    planned = {one["path"]: one["name"] for one in reported["planned"]}
    discovery = rig.world.cluster.one(kinds.APPLIANCE, "vma")["spec"]["discovery"]
    rig.edit(kinds.APPLIANCE, "vma", discovery={**discovery, "dryRun": False})
    await rig.found()
    assert len(rig.objects()) == 60
    assert rig.reported()["planned"] == []
    assert {path: name for path, name in rig.names().items() if f"/DC1/vm/{path}" in planned} == {
        path.removeprefix("/DC1/vm/"): name for path, name in planned.items()
    }


async def test_a_thousand_vms_without_a_burst() -> None:
    rig = World(*(vm(number) for number in range(1000)))
    made: list[int] = []
    for _ in range(int(1000 / STEPS * PAUSE_S) + 60):
        before = len(rig.objects())
        await rig.controller.work()
        made.append(len(rig.objects()) - before)
        rig.world.step()
    assert len(rig.objects()) == 1000
    assert max(made) <= 2 * STEPS
    assert rig.lists() == 1
    assert [call for call in rig.vma.asked if call.startswith("DC1 ")] == []
    assert rig.verdict() == ("True", "Discovered")
    assert rig.world.cluster.written.count("VMwareAppliance") < 30
    before = len(rig.world.cluster.written)
    await rig.next()
    assert rig.lists() == 2
    assert [kind for kind in rig.world.cluster.written[before:] if kind == "ProtectedVM"] == []


async def test_cbt_that_is_off_is_said_so() -> None:
    rig = World(vm(1))
    rig.vma.cbt = False
    await rig.found()
    assert rig.vm_reason("vm1", "ChangeTracking") == "Disabled"
    rig.vma.cbt = True
    await rig.next()
    await rig.run(lambda: rig.vm_reason("vm1", "ChangeTracking") == "Enabled", seconds=INTERVAL)


async def test_a_datacenter_that_is_not_there_keeps_no_other_from_being_found() -> None:
    rig = World(vm(1), datacenters=["Nowhere", "DC1"])
    await rig.run(lambda: rig.verdict() == ("False", "DatacenterNotFound") and rig.objects())
    assert list(rig.objects()) == ["vm1"]
    assert "Nowhere" in rig.reported()["message"]
    assert "lastTime" not in rig.reported()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            VMARefused("discover", 500, "Cannot complete login due to an incorrect user name or password."),
            "VCenterRefused",
        ),
        (VMARefused("discover", 500, "dial tcp 10.0.0.1:443: connect: connection refused"), "VCenterUnreachable"),
        (VMAUnreachable("discover: no answer"), "ApplianceUnreachable"),
        (VMARefused("discover", 500, "out of memory"), "ApplianceError"),
    ],
)
async def test_failures_are_told_and_pass(error: Exception, reason: str) -> None:
    rig = World(vm(1), datacenters=["DC1", "DC2"])
    rig.vma.machines["DC2"] = []
    rig.vma.vcenter_error = error
    await rig.run(lambda: rig.verdict() == ("False", reason))
    await rig.settle(seconds=100)
    logins = len(rig.vma.asked)
    assert logins <= 8, rig.vma.asked
    rig.vma.vcenter_error = None
    await rig.run(lambda: rig.verdict() == ("True", "Discovered"), seconds=INTERVAL)
    assert list(rig.objects()) == ["vm1"]


async def test_a_restarted_controller_goes_on_and_does_not_begin_anew() -> None:
    rig = World(*(vm(number) for number in range(35)))
    await rig.run(lambda: len(rig.objects()) >= STEPS)
    rig.restart()
    await rig.found()
    assert len(rig.objects()) == len(set(rig.names().values())) == 35
    asked = rig.lists()
    rig.restart()
    await rig.settle(seconds=INTERVAL // 2)
    assert rig.lists() == asked


@pytest.mark.parametrize("after", range(1, 12))
async def test_killed_after_each_write(after: int) -> None:
    rig = World(vm(1, "/DC1/vm/a/db"), vm(2, "/DC1/vm/b/db"), vm(3))
    rig.world.cluster.kill_after = after
    await rig.found()
    rig.world.cluster.kill_after = None
    await rig.next()
    assert sorted(rig.objects()) == ["a/db", "b/db", "vm3"]
    assert len(rig.world.cluster.all(kinds.PROTECTED_VM)) == 3


async def test_rights_that_are_missing_are_reported() -> None:
    rig = World(vm(1))
    rig.world.cluster.failing = refusing("create", ForbiddenError("protectedvms is forbidden"))
    await rig.run(lambda: rig.verdict() == ("False", "Forbidden"))
    assert "protectedvms is forbidden" in rig.reported()["message"]
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.found()
    assert list(rig.objects()) == ["vm1"]


async def test_an_object_that_the_api_server_refuses_keeps_no_other_from_being_made() -> None:
    rig = World(vm(1), vm(2))
    refused = iter([InvalidError("spec.path: too odd")])
    rig.world.cluster.failing = lambda verb, kind: (
        next(refused, None) if (verb, kind) == ("create", kinds.PROTECTED_VM) else None
    )
    await rig.found()
    assert list(rig.objects()) == ["vm2"]
    assert rig.reported()["unusable"] == 1
    assert "too odd" in rig.reported()["message"]


async def test_an_api_server_that_is_away_for_a_moment() -> None:
    rig = World(vm(1), vm(2))
    away = iter([UnavailableError("down")] * 3)
    rig.world.cluster.failing = lambda verb, kind: (
        next(away, None) if (verb, kind) == ("create", kinds.PROTECTED_VM) else None
    )
    await rig.found()
    assert sorted(rig.objects()) == ["vm1", "vm2"]


async def test_one_that_was_deleted_comes_back_unless_it_is_excluded() -> None:
    rig = await World(vm(1), vm(2)).found()
    names = rig.names()
    rig.world.cluster.remove(kinds.PROTECTED_VM, rig.objects()["vm1"])
    await rig.next()
    assert rig.names() == names


async def test_discovery_that_is_switched_off() -> None:
    rig = await World(vm(1)).found()
    rig.edit(kinds.APPLIANCE, "vma", discovery=None)
    await rig.run(lambda: not rig.reported())
    assert rig.verdict() == ("", "")
    asked = rig.lists()
    await rig.next()
    assert rig.lists() == asked
    assert list(rig.objects()) == ["vm1"]


async def test_two_appliances_of_one_vcenter_share_its_vms() -> None:
    rig = await World(vm(1), vm(2), namePatterns=["vm1"]).found()
    rules = {"datacenters": ["DC1"], "intervalSeconds": INTERVAL}
    rig.create(kinds.APPLIANCE, sample.appliance("other", discovery=rules))
    await rig.run(lambda: rig.reported("other").get("lastTime"))
    owners = {path: obj["spec"]["applianceRef"]["name"] for path, obj in rig.objects().items()}
    assert owners == {"vm1": "vma", "vm2": "other"}
