"""A policy backs up VMs by label, and deletes what its retention does not keep."""

from __future__ import annotations

from typing import Any

from tests.support import images, manifests
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import run_digest

SMALL = Disk("pattern", 8 * MIB)
OFTEN = f"{names.LABEL_POLICY}=often"


def label(space: Workspace, vm: str, tier: str | None) -> None:
    space.kube.merge("ProtectedVM", vm, space.namespace, {"metadata": {"labels": {"tier": tier}}})


def chosen(space: Workspace, count: int) -> None:
    """Probe whether the policy has so many VMs."""
    status = space.status("often", "BackupPolicy")
    until(status.get("vms") == count, status)


def created(space: Workspace) -> list[dict[str, Any]]:
    """The policy's Backups, as they are now."""
    return space.kube.select("Backup", space.namespace, labels=OFTEN)


def run(space: Workspace, request: str, *vms: str) -> None:
    """Request a run, and wait until it has created a Backup of just these VMs and all are Completed."""
    before = {backup["metadata"]["name"] for backup in created(space)}
    annotations = {names.ANNOTATION_RUN: request}
    space.kube.merge("BackupPolicy", "often", space.namespace, {"metadata": {"annotations": annotations}})

    def made() -> list[str]:
        found = {b["metadata"]["name"]: b["spec"]["vmRef"]["name"] for b in created(space)}
        new = {name: vm for name, vm in found.items() if name not in before}
        until(sorted(new.values()) == sorted(vms), found)
        assert all(f"-often-{run_digest(request)}-" in name for name in new)
        return list(new)

    for name in wait_for(f"the run {request}", made, timeout=SLOW_MACHINE):
        space.wait_phase("Completed", name)


def test_vms_by_label(space: Workspace) -> None:
    """Schedules are tried where the controller is killed in between: tests/faults."""
    space.ready(SMALL)
    for name in ("second", "other"):
        space.add_vm(name, SMALL, track=True)
    for name in ("vm", "second"):
        label(space, name, "gold")
    spec: dict[str, Any] = {
        "vmSelector": {"matchLabels": {"tier": "gold"}},
        "schedules": [{"name": "yearly", "cron": "0 3 1 1 *", "timeZone": "Asia/Kathmandu"}],
        "backup": {"retries": 0},
        "suspend": True,
    }
    space.kube.create(manifests.backup_policy("often", space.namespace, vms=(), **spec))
    wait_for("the policy to see both labels", lambda: chosen(space, 2), timeout=SLOW_MACHINE)
    run(space, "first", "vm", "second")
    assert all(backup["spec"]["policyRef"] == {"name": "often"} for backup in created(space))
    label(space, "vm", None)
    label(space, "other", "gold")
    run(space, "second", "other", "second")
    status = space.status("often", "BackupPolicy")
    assert (status["vms"], status["lastCreated"], status["lastRequest"]) == (2, 2, "second")
    (shown,) = space.kube.table("BackupPolicy", space.namespace)
    assert (shown["VMs"], shown["Reason"], shown["Repository"]) == (2, "Suspended", "repo")
    keep_newest(space)
    for vm in ("vm", "second", "other"):
        (left,) = [backup for backup in created(space) if backup["spec"]["vmRef"]["name"] == vm]
        images.assert_identical(space, left["metadata"]["name"], vm=vm)


def keep_newest(space: Workspace) -> None:
    """One restore point of each VM that the policy still backs up; one without the label keeps what it has."""
    space.kube.merge(
        "BackupPolicy", "often", space.namespace, {"spec": {"suspend": False, "retention": {"keepLast": 1}}}
    )

    def applied() -> None:
        found = sorted(backup["spec"]["vmRef"]["name"] for backup in created(space))
        until(found == ["other", "second", "vm"], found)
        said = _retention(space)
        until(said == ("Applied", {"restorePoints": 2, "expired": 0}), said)

    wait_for("the end of all but the newest", applied, timeout=SLOW_MACHINE)


def _retention(space: Workspace) -> tuple[str, dict[str, int]]:
    status = space.status("often", "BackupPolicy")
    return str(find_condition(status, "Retention").get("reason", "")), status.get("retention", {})
