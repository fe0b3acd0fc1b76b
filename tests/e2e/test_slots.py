"""Who may run at the same time: one job per VM, slots of repository and appliance, and a queue with positions."""

from __future__ import annotations

from functools import partial

import pytest
from tests.support import images
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

SMALL = Disk("pattern", 4 * MIB)
SLOW = 64 * 1024
"""Bytes a second: the first backup takes four minutes, unless it is let go."""
PATIENT = dict.fromkeys(("firstSignSeconds", "connectSeconds", "reconnectSeconds", "stallSeconds"), 120) | {
    "requestSeconds": 30
}
"""Clocks for more workers and clients at once than the machine has cores."""


def release(space: Workspace, job: str) -> None:
    """Let a slow job run as fast as it can."""
    space.vma.command(job, "rate", bytes_per_second=1 << 30)


def test_one_job_a_vm(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup("first")
    job = str(space.wait_copying("first")["job_id"])
    space.backup("second")
    assert "first" in space.wait_reason("ChainBusy", "second")
    assert len(space.vma.starts()) == 1
    release(space, job)
    space.wait_phase("Completed", "first")
    space.wait_phase("Completed", "second")
    for name in ("first", "second"):
        images.assert_identical(space, name)
    assert not space.vma.events("snapshot_deleted_under_job")


def test_two_vms_of_one_name_on_an_appliance(space: Workspace) -> None:
    """Callbacks name per VM by the last element of its path only."""
    space.ready(Disk("random", 16 * MIB))
    space.add_vm("other", SMALL, vmware="vm", path="/DC1/vm/elsewhere/vm")
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup("first")
    job = str(space.wait_copying("first")["job_id"])
    space.backup("second", vm="other")
    assert "first" in space.wait_reason("VMNameBusy", "second")
    release(space, job)
    space.wait_phase("Completed", "first")
    space.wait_phase("Completed", "second")
    images.assert_identical(space, "first")
    images.assert_identical(space, "second", vm="other")


def test_slots_of_a_repository_and_the_queue(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB), maxConcurrentBackups=1)
    for name in ("vm2", "vm3", "vm4"):
        space.add_vm(name, SMALL)
    space.vma.fault("client", "rate", bytes_per_second=SLOW, vm="vm")
    space.backup("first")
    job = str(space.wait_copying("first")["job_id"])
    for position, name in enumerate(("vm2", "vm3", "vm4"), start=1):
        space.backup(name, vm=name)
        assert "repo" in space.wait_reason("WaitingForSlot", name)
        wait_for(f"{name} in its place", partial(_position, space, name, position))
    space.kube.delete("Backup", "vm2", space.namespace)
    for position, name in enumerate(("vm3", "vm4"), start=1):
        wait_for(f"{name} moved up", partial(_position, space, name, position))
    release(space, job)
    for name in ("first", "vm3", "vm4"):
        space.wait_phase("Completed", name)
    started = [moment["seq"] for name in ("vm", "vm3", "vm4") for moment in space.vma.events("job_started", vm=name)]
    assert started == sorted(started), "first come, first served"
    assert _most_at_once(space) == 1


def _position(space: Workspace, name: str, position: int) -> None:
    message = find_condition(space.status(name), "Ready")["message"]
    until(f"position {position} " in message, message)


def _most_at_once(space: Workspace) -> int:
    """Of the VMA's jobs."""
    alive = most = 0
    for entry in space.vma.log(kind="event"):
        alive += {"job_started": 1, "client_exit": -1}.get(entry["event"], 0)
        most = max(most, alive)
    return most


def test_slots_of_an_appliance_over_two_repositories(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB), appliance={"maxConcurrentBackups": 1})
    space.add_repository("repo2", node=1)
    space.add_vm("vm2", SMALL)
    space.vma.fault("client", "rate", bytes_per_second=SLOW, vm="vm")
    space.backup("first")
    job = str(space.wait_copying("first")["job_id"])
    space.backup("second", vm="vm2", repository="repo2")
    assert "vma" in space.wait_reason("WaitingForSlot", "second")
    assert space.status("vma", "VMwareAppliance")["activeBackups"] == 1
    release(space, job)
    space.wait_phase("Completed", "first")
    space.wait_phase("Completed", "second")
    images.assert_identical(space, "second", vm="vm2", repository="repo2")


@pytest.mark.timeout(900)
def test_ten_backups_at_once(space: Workspace) -> None:
    """To two repositories on two nodes, by just as many ports of the nodes as they need: none is given twice."""
    level = {"pod-security.kubernetes.io/enforce": "privileged"}
    space.kube.merge("Namespace", space.namespace, None, {"metadata": {"labels": level}})
    ports = {"first": 10200, "last": 10219}
    nbd = {"exposure": "HostPort", "portRange": ports}
    space.add_secret()
    space.add_appliance(nbd=nbd, timeouts=PATIENT, maxConcurrentBackups=10)
    for node in (0, 1):
        space.add_repository(f"repo{node}", node=node, maxConcurrentBackups=10)
    for number in range(10):
        space.add_vm(f"vm{number}", Disk("random", 16 * MIB), Disk("pattern", 2 * MIB))
    # The first still copies when the tenth starts, however busy the machine is.
    space.vma.fault("client", "rate", bytes_per_second=SLOW // 2, count=0)
    for number in range(10):
        space.backup(f"b{number}", vm=f"vm{number}", repository=f"repo{number % 2}")
    jobs = space.wait_copying_together(10, timeout=400)
    reported = [int(target.rpartition(":")[2]) for target in space.vma.targets()]
    assert sorted(reported) == list(range(ports["first"], ports["last"] + 1))
    assert len(set(jobs)) == len(space.vma.starts()) == 10
    for job in jobs:
        release(space, job)
    for number in range(10):
        space.wait_phase("Completed", f"b{number}")
    for node in (0, 1):
        mine = {f"b{number}": space.disks[f"vm{number}"] for number in range(node, 10, 2)}
        images.assert_points(space, mine, repository=f"repo{node}")
