"""What the appliance would swallow in silence is found out beforehand, and reported in vCenter's own words."""

from __future__ import annotations

import time

from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

SMALL = Disk("pattern", 4 * MIB)
SOON = 120
"""Seconds: less than an appliance in the field is given for its first sign of life, on whatever machine."""


def failure(space: Workspace) -> str:
    """Return message of a Backup that fails soon, without a job on the appliance."""
    began = time.monotonic()
    space.backup()
    status = space.wait_phase("Failed", timeout=SOON)
    assert time.monotonic() - began < SOON
    assert space.vma.starts() == []
    assert space.folders["repo"].partials() == []
    return str(find_condition(status, "Stalled")["message"])


def prepared(space: Workspace) -> None:
    """All that works, looked at already."""
    space.ready(SMALL)
    space.wait_ready("repo", "BackupRepository")
    space.wait_ready("vm", "ProtectedVM")


def test_a_wrong_password(space: Workspace) -> None:
    space.add_secret(password="wrong")
    space.add_appliance()
    space.add_repository()
    space.add_vm("vm", SMALL)
    space.wait_ready("repo", "BackupRepository")
    assert "Cannot complete login due to an incorrect user name or password." in failure(space)
    assert "incorrect user name" in find_condition(space.status("vm", "ProtectedVM"), "Ready")["message"]


def test_a_password_that_changed_after_the_vm_was_discovered(space: Workspace) -> None:
    prepared(space)
    space.vma.configure(vcenter_password="changed")
    assert "Cannot complete login due to an incorrect user name or password." in failure(space)


def test_an_unknown_vm(space: Workspace) -> None:
    space.add_secret()
    space.add_appliance()
    space.add_repository()
    space.vma.add_vm("another")
    space.kube.create(
        {
            "kind": "ProtectedVM",
            "metadata": {"name": "vm", "namespace": space.namespace},
            "spec": {"applianceRef": {"name": "vma"}, "path": "/DC1/vm/nobody"},
        }
    )
    space.wait_ready("repo", "BackupRepository")
    assert "not found" in failure(space)


def test_a_vcenter_that_is_down(space: Workspace) -> None:
    prepared(space)
    space.vma.fault("vcenter", "down", count=0)
    space.backup()
    assert "connection refused" in space.wait_reason("VCenterUnreachable")
    wait_for("a Warning", lambda: until("VCenterUnreachable" in warnings(space), space.story()))
    space.vma.clear_faults()
    space.wait_phase("Completed", timeout=SOON)


def warnings(space: Workspace) -> list[str]:
    return [reason for kind, reason, _ in space.story() if kind == "Warning"]


def test_disks_are_discovered_afresh(space: Workspace) -> None:
    """A disk that was added after the VM was last looked at is in the backup."""
    prepared(space)
    space.disks["vm"] = space.vma.add_vm("vm", SMALL, Disk("random", 2 * MIB))
    space.backup()
    assert len(space.wait_phase("Completed")["disks"]) == 2


def test_discovery_in_the_status(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB), Disk("random", 2 * MIB + 512))
    status = space.wait_ready("vm", "ProtectedVM")
    assert [disk["virtualSize"] for disk in status["disks"]] == [4 * MIB, 2 * MIB + 512]
    assert [disk["key"] for disk in status["disks"]] == [2000, 2001]
    assert status["totalBytes"] == 6 * MIB + 512
    assert status["vmName"] == "vm"
    assert status["powerState"] == "poweredOn"
