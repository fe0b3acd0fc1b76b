"""A VM is called gone when vCenter says so itself, and never because a list is short or somebody else is in trouble."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.wiring.discoveryworld import INTERVAL, NO_WORD, World, vm

from sendense_operator.cluster import kinds
from sendense_operator.vma.errors import VMARefused


async def test_a_vm_that_vanishes_is_marked_kept_and_welcomed_back() -> None:
    rig = await World(vm(1), vm(2)).found()
    gone = rig.machines.pop(0)
    await rig.next()
    assert rig.vm_reason("vm1") == "VMVanished"
    status = rig.objects()["vm1"]["status"]
    assert status["vanishedTime"]
    assert status["disks"]
    assert rig.reported()["vanished"] == 1
    assert rig.names()["vm1"] in rig.reported()["message"]
    since = status["vanishedTime"]
    await rig.next()
    assert rig.objects()["vm1"]["status"]["vanishedTime"] == since
    rig.machines.append(gone)
    await rig.next()
    assert rig.vm_reason("vm1") == "Discovered"
    assert "vanishedTime" not in rig.objects()["vm1"]["status"]
    assert rig.reported()["vanished"] == 0


async def test_what_a_list_leaves_out_is_not_called_gone() -> None:
    rig = await World(vm(1), vm(2)).found()
    rig.vma.hidden = {"/DC1/vm/vm1"}
    await rig.next()
    assert rig.vm_reason("vm1") == "ApplianceError"
    assert "vanishedTime" not in rig.objects()["vm1"]["status"]


@pytest.mark.parametrize(("error", "reason"), NO_WORD)
async def test_without_a_word_of_vcenter_nothing_is_called_gone(error: Exception, reason: str) -> None:
    rig = await World(vm(1), vm(2)).found()
    rig.machines.pop(0)
    rig.vma.cbt_error = error
    await rig.next()
    assert rig.vm_reason("vm1") == reason
    status = rig.objects()["vm1"]["status"]
    assert "vanishedTime" not in status
    assert "there is no VM at '/DC1/vm/vm1'" in status["conditions"][0]["message"]
    assert str(getattr(error, "text", error)) in status["conditions"][0]["message"]
    rig.vma.cbt_error = None
    await rig.next()
    assert rig.vm_reason("vm1") == "VMVanished"


@pytest.mark.parametrize("error", [NO_WORD[0][0], NO_WORD[2][0], NO_WORD[5][0]])
async def test_a_backup_outlives_a_list_with_a_gap_that_nobody_explains(error: Exception) -> None:
    rig = await World(vm(1), vm(2)).found()
    rig.create(kinds.CLAIM, sample.claim())
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    await rig.run(lambda: rig.is_ready(kinds.BACKUP_REPOSITORY, "store"))
    await rig.settle(seconds=60)
    rig.vma.hidden, rig.vma.cbt_error = {"/DC1/vm/vm1"}, error
    rig.create(kinds.BACKUP, sample.backup("b1", vm=rig.names()["vm1"]))
    await rig.settle(seconds=60)
    assert rig.phase() == "Pending"
    rig.vma.hidden, rig.vma.cbt_error = set(), None
    await rig.run(lambda: rig.is_over("b1"))
    assert rig.phase() == "Completed"


async def test_another_vm_in_its_place_is_another_object() -> None:
    rig = await World(vm(1, "/DC1/vm/db")).found()
    (old,) = rig.names().values()
    rig.machines[0] = vm(2, "/DC1/vm/db")
    await rig.next()
    found = {obj["metadata"]["name"]: obj for obj in rig.world.cluster.all(kinds.PROTECTED_VM)}
    assert len(found) == 2
    reasons = {name: obj["status"]["conditions"][0]["reason"] for name, obj in found.items()}
    assert reasons.pop(old) == "VMReplaced"
    assert list(reasons.values()) == ["Discovered"]


async def test_no_vm_vanishes_while_vcenter_does_not_answer() -> None:
    rig = await World(vm(1)).found()
    rig.vma.vcenter_error = VMARefused("discover", 500, "dial tcp 10.0.0.1:443: connect: connection refused")
    await rig.settle(seconds=3 * INTERVAL)
    assert rig.reported()["vanished"] == 0
    assert "vanishedTime" not in rig.objects()["vm1"]["status"]
