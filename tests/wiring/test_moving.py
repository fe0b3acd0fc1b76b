"""A discovered VM that is renamed, moved or cloned: which ProtectedVM is whose."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import vm_uuid
from tests.wiring.discoveryworld import INTERVAL, NO_WORD, World, vm

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, NotFoundError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.vma.errors import VMAGarbage, VMARefused

DB, CLONE = "/DC1/vm/db", "/DC2/vm/clone"


async def with_clone_to_come(**rules: Any) -> World:
    """Return a VM in one datacenter; in the other one that has nothing to do with it."""
    rig = World(vm(1, DB), **rules)
    rig.vma.machines["DC2"] = [vm(2, "/DC2/vm/other")]
    return await rig.found()


def path_of(rig: World, name: str) -> str:
    return str(rig.world.cluster.one(kinds.PROTECTED_VM, name)["spec"]["path"])


async def test_a_renamed_and_moved_vm_keeps_its_object() -> None:
    rig = await World(vm(1), vm(2)).found()
    names = rig.names()
    rig.machines[0] = vm(1, "/DC1/vm/archive/old-1")
    await rig.next()
    assert rig.names() == {"archive/old-1": names["vm1"], "vm2": names["vm2"]}
    assert rig.objects()["archive/old-1"]["status"]["vmName"] == "old-1"
    assert rig.vm_reason("archive/old-1") == "Discovered"
    assert (rig.reported()["updated"], rig.reported()["created"]) == (1, 0)


async def test_clones_with_one_uuid_get_an_object_each_and_keep_it() -> None:
    rig = await World(vm(1, "/DC1/vm/db"), vm(1, "/DC1/vm/clone")).found()
    names = rig.names()
    assert len(set(names.values())) == 2
    assert "share their BIOS UUID" in rig.reported()["message"]
    await rig.next()
    assert rig.names() == names
    assert {rig.vm_reason(path) for path in names} == {"Discovered"}


async def test_one_that_was_made_by_hand_is_taken_as_it_is() -> None:
    rig = World(vm(1, "/DC1/vm/db"), vm(2))
    rig.create(kinds.PROTECTED_VM, sample.protected_vm("mine", path="/DC1/vm/db"))
    await rig.found()
    assert rig.names()["db"] == "mine"
    assert len(rig.objects()) == 2
    rig.machines[0] = vm(1, "/DC1/vm/new/db")
    await rig.next()
    assert rig.vm_reason("db") == "VMMoved"
    obj = rig.objects()["db"]
    assert "/DC1/vm/new/db" in obj["status"]["conditions"][0]["message"]
    assert len(rig.objects()) == 2
    rig.edit(kinds.PROTECTED_VM, "mine", path="/DC1/vm/new/db")
    await rig.run(lambda: rig.vm_reason("new/db") == "Discovered")


async def test_a_backup_of_a_vm_that_moved_a_moment_ago() -> None:
    rig = await World(vm(1, "/DC1/vm/db")).found()
    rig.create(kinds.CLAIM, sample.claim())
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    await rig.run(lambda: rig.is_ready(kinds.BACKUP_REPOSITORY, "store"))
    await rig.settle(seconds=60)
    rig.machines[0] = vm(1, "/DC1/vm/moved/db")
    rig.create(kinds.BACKUP, sample.backup("b1", vm=rig.names()["db"]))
    await rig.run(lambda: rig.is_over("b1"))
    assert rig.phase() == "Completed"
    assert list(rig.objects()) == ["moved/db"]


@pytest.mark.parametrize(
    "error",
    [
        VMARefused("discover", 500, "out of memory"),
        VMAGarbage("discover: vms: Input should be a valid array"),
        VMARefused("discover", 500, "datacenter 'DC1' not found"),
    ],
)
async def test_a_clone_is_not_followed_while_a_datacenter_cannot_be_listed(error: Exception) -> None:
    rig = await with_clone_to_come(datacenters=["DC1", "DC2"])
    names = rig.names()
    rig.vma.machines["DC2"].append(vm(1, CLONE))
    rig.vma.list_errors["DC1"] = error
    await rig.next()
    assert rig.names()["db"] == names["db"]
    assert rig.verdict()[0] == "False"
    rig.vma.list_errors.clear()
    await rig.next()
    assert rig.names() == names | {CLONE: rig.names()[CLONE]}
    assert {rig.vm_reason(path) for path in rig.names()} == {"Discovered"}


async def test_a_clone_is_not_followed_where_its_datacenter_is_no_longer_requested() -> None:
    rig = await with_clone_to_come(datacenters=["DC1", "DC2"])
    names = rig.names()
    rig.vma.machines["DC2"].append(vm(1, CLONE))
    discovery = rig.world.cluster.one(kinds.APPLIANCE, "vma")["spec"]["discovery"]
    rig.edit(kinds.APPLIANCE, "vma", discovery={**discovery, "datacenters": ["DC2"]})
    await rig.found()
    await rig.next()
    assert rig.names() == names | {CLONE: rig.names()[CLONE]}
    assert {rig.vm_reason(path) for path in rig.names()} == {"Discovered"}


async def test_a_clone_is_not_followed_while_the_entry_of_the_vm_cannot_be_read() -> None:
    rig = await with_clone_to_come(datacenters=["DC1", "DC2"])
    names = rig.names()
    rig.vma.machines["DC2"].append(vm(1, CLONE))
    rig.vma.broken = {DB}
    await rig.next()
    assert rig.names() == names | {CLONE: rig.names()[CLONE]}
    assert rig.vm_reason(CLONE) == "Discovered"


async def test_a_clone_is_not_followed_when_a_list_leaves_the_vm_out() -> None:
    rig = await with_clone_to_come(datacenters=["DC1", "DC2"])
    names = rig.names()
    rig.vma.machines["DC2"].append(vm(1, CLONE))
    rig.vma.hidden = {DB}
    await rig.next()
    assert rig.names() == names | {CLONE: rig.names()[CLONE]}
    assert rig.vm_reason(CLONE) == "Discovered"
    assert rig.vm_reason("db") == "ApplianceError"
    assert rig.reported()["vanished"] == rig.reported()["updated"] == 0
    assert names["db"] in rig.reported()["message"]
    rig.vma.hidden = set()
    await rig.next()
    assert rig.vm_reason("db") == "Discovered"


@pytest.mark.parametrize(("error", "reason"), NO_WORD)
async def test_nobody_is_followed_until_vcenter_says_that_the_old_path_is_empty(error: Exception, reason: str) -> None:
    rig = await World(vm(1, DB)).found()
    names = rig.names()
    rig.machines[:] = [vm(1, "/DC1/vm/new/db"), vm(3)]
    rig.vma.cbt_error = error
    await rig.next()
    assert rig.names() == names | {"vm3": rig.names()["vm3"]}
    assert rig.verdict() == ("False", reason)
    assert names["db"] in rig.reported()["message"]
    rig.vma.cbt_error = None
    await rig.next()
    assert rig.names() == {"new/db": names["db"], "vm3": rig.names()["vm3"]}
    assert rig.verdict() == ("True", "Discovered")


async def test_a_refused_login_is_not_tried_again_for_each_vm_that_moved() -> None:
    rig = await World(*(vm(number) for number in range(30)), vm(40), vm(41)).found()
    names = rig.names()
    swapped = [vm(40, "/DC1/vm/vm41"), vm(41, "/DC1/vm/vm40")]
    rig.machines[:] = [vm(number, f"/DC1/vm/new/vm{number}") for number in range(30)] + swapped
    old = {f"/DC1/vm/vm{number}" for number in range(30)}
    rig.vma.cbt_error = VMARefused("cbt-status", 500, "Cannot complete login due to an incorrect password.")
    before = len(rig.vma.asked)
    await rig.run(lambda: path_of(rig, names["vm41"]) == "/DC1/vm/vm40", seconds=2 * INTERVAL)
    assert len([path for path in rig.vma.asked[before:] if path in old]) == 1
    assert rig.verdict() == ("False", "VCenterRefused")
    rig.vma.cbt_error = None
    await rig.next()
    moved = {f"new/vm{number}": names[f"vm{number}"] for number in range(30)}
    assert {path: name for path, name in rig.names().items() if path in moved} == moved


async def test_a_place_that_another_vm_has_taken_needs_no_question() -> None:
    rig = await World(vm(1, DB), vm(2)).found()
    names = rig.names()
    rig.machines[:] = [vm(2, DB), vm(1, "/DC1/vm/vm2")]
    rig.vma.cbt_error = VMARefused("cbt-status", 500, "Internal server error")
    await rig.next()
    assert rig.names() == {"db": names["vm2"], "vm2": names["db"]}
    assert rig.objects()["db"]["spec"]["uuid"] == vm_uuid(2)


async def test_credentials_that_went_between_the_list_and_the_move() -> None:
    rig = await World(vm(1, DB)).found()
    names = rig.names()
    rig.machines[0] = vm(1, "/DC1/vm/new/db")
    listed = rig.lists()

    def gone(verb: str, kind: Kind) -> ClusterError | None:
        return NotFoundError("no such Secret") if kind is kinds.SECRET and rig.lists() > listed else None

    rig.world.cluster.failing = gone
    await rig.run(lambda: rig.verdict() == ("False", "SecretNotFound"), seconds=2 * INTERVAL)
    assert rig.names() == names
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.next()
    assert rig.names() == {"new/db": names["db"]}


async def test_a_vm_that_moved_out_of_a_datacenter_that_cannot_be_listed_keeps_its_object() -> None:
    rig = await with_clone_to_come(datacenters=["DC1", "DC2"])
    names = rig.names()
    rig.vma.machines["DC2"].append(vm(1, "/DC2/vm/db"))
    rig.machines[:] = [vm(3)]
    rig.vma.list_errors["DC1"] = VMARefused("discover", 500, "out of memory")
    await rig.next()
    assert rig.names() == names
    assert f"/DC2/vm/db': it may be the VM of {names['db']}" in rig.reported()["message"]
    rig.vma.list_errors.clear()
    await rig.next()
    assert rig.names()["/DC2/vm/db"] == names["db"]
    assert "db" not in rig.names()
