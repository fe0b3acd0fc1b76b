"""The controller is killed while a policy's slot is under way: each VM gets one Backup, and retention works on."""

from __future__ import annotations

from collections import defaultdict

import pytest
from tests.support import chart, images, manifests
from tests.support.objects import Obj
from tests.support.outcomes import PATIENCE
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

from sendense_operator.api.v1alpha1 import names

pytestmark = pytest.mark.disruptive

SMALL = Disk("pattern", 4 * MIB)
VMS = ("vm", "second", "third", "fourth", "fifth")
LABELS = {"tier": "gold"}


def created(space: Workspace) -> list[Obj]:
    """The policy's Backups, the oldest slot first."""
    return sorted(space.kube.select("Backup", space.namespace, labels=f"{names.LABEL_POLICY}=often"), key=slot_of)


def slot_of(backup: Obj) -> str:
    return str(backup["metadata"]["name"]).split("-")[-2]


def slots(space: Workspace) -> dict[str, list[str]]:
    """VMs by the time of the slot, each as often as there is a Backup of it."""
    found: dict[str, list[str]] = defaultdict(list)
    for backup in created(space):
        found[slot_of(backup)].append(backup["spec"]["vmRef"]["name"])
    return {slot: sorted(vms) for slot, vms in sorted(found.items())}


def label(space: Workspace, vm: str, tier: str | None) -> None:
    space.kube.merge("ProtectedVM", vm, space.namespace, {"metadata": {"labels": {"tier": tier}}})


def killed_amid_slot(space: Workspace, number: int, vms: tuple[str, ...]) -> None:
    """Kill the controller when the first Backups of a slot are there; the others follow, each once."""

    def begun() -> None:
        found = list(slots(space).values())
        until(len(found) >= number, found)
        assert len(found[number - 1]) < len(vms), "too late to kill it in between"

    wait_for(f"slot {number}", begun, timeout=PATIENCE, interval=0.1)
    chart.kill(space.kube, "controller")

    def complete() -> None:
        found = list(slots(space).values())[number - 1]
        until(found == sorted(vms), found)

    wait_for(f"all Backups of slot {number}", complete, timeout=PATIENCE)


def test_killed_amid_the_slots_of_a_policy(space: Workspace) -> None:
    space.ready(SMALL)
    for name in (*VMS[1:], "late"):
        space.add_vm(name, SMALL, track=True)
    for name in VMS:
        label(space, name, "gold")
    spec: Obj = {
        "vmSelector": {"matchLabels": LABELS},
        "schedules": [{"name": "minutes", "cron": "* * * * *"}],
        "jitterSeconds": 25,
        "backup": {"retries": 0},
    }
    space.kube.create(manifests.backup_policy("often", space.namespace, vms=(), **spec))
    killed_amid_slot(space, 1, VMS)
    for backup in created(space):
        space.wait_phase("Completed", backup["metadata"]["name"], timeout=PATIENCE)
    label(space, "vm", None)
    label(space, "late", "gold")
    killed_amid_slot(space, 2, (*VMS[1:], "late"))
    rest = {"schedules": [], "retention": {"keepLast": 1}}
    space.kube.merge("BackupPolicy", "often", space.namespace, {"spec": rest})
    first = next(iter(slots(space)))

    def expired() -> None:
        found = {backup["spec"]["vmRef"]["name"]: slot_of(backup) for backup in created(space)}
        until(len(created(space)) == len(found), slots(space))
        assert {vm for vm, slot in found.items() if slot == first} == {"vm"}, "it has no later one, and keeps it"

    wait_for("the end of all but the newest", expired, timeout=PATIENCE)
    for backup in created(space):
        name = backup["metadata"]["name"]
        space.wait_phase("Completed", name, timeout=PATIENCE)
        images.assert_identical(space, name, vm=backup["spec"]["vmRef"]["name"])
