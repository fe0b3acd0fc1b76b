"""A policy backs up VMs by label, each slot once, and on request."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tests.support import images, manifests
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace, condition

from sendense_operator.api.v1alpha1 import names

SMALL = Disk("pattern", 8 * MIB)
OFTEN = f"{names.LABEL_POLICY}=often"


def label(space: Workspace, vm: str, tier: str | None) -> None:
    space.kube.merge("ProtectedVM", vm, space.namespace, {"metadata": {"labels": {"tier": tier}}})


def created(space: Workspace) -> list[dict[str, Any]]:
    """The policy's Backups, as they are now."""
    return space.kube.select("Backup", space.namespace, labels=OFTEN)


def slots(space: Workspace) -> dict[str, list[str]]:
    """VMs by slot, or by request, of which there are Backups."""
    found: dict[str, list[str]] = defaultdict(list)
    for backup in created(space):
        vm = backup["spec"]["vmRef"]["name"]
        run = backup["metadata"]["name"].removeprefix(f"{vm}-often-").rpartition("-")[0]
        found[run].append(vm)
    return {run: sorted(vms) for run, vms in found.items()}


def test_vms_by_label_each_minute_and_on_request(space: Workspace) -> None:
    space.ready(SMALL)
    for name in ("second", "other"):
        space.add_vm(name, SMALL, track=True)
    for name in ("vm", "second"):
        label(space, name, "gold")
    spec: dict[str, Any] = {
        "vmSelector": {"matchLabels": {"tier": "gold"}},
        "schedules": [{"name": "minutes", "cron": "* * * * *", "timeZone": "Asia/Kathmandu"}],
        "backup": {"retries": 0},
    }
    space.kube.create(manifests.backup_policy("often", space.namespace, vms=(), **spec))
    wait_for("the first slot", lambda: until(slots(space), space.status("often", "BackupPolicy")), timeout=SLOW_MACHINE)
    (first,) = slots(space)
    assert slots(space) == {first: ["second", "vm"]}
    label(space, "vm", None)
    label(space, "other", "gold")
    for backup in created(space):
        space.wait_phase("Completed", backup["metadata"]["name"])
        assert backup["spec"]["policyRef"] == {"name": "often"}
    wait_for("the next slot", lambda: until(len(slots(space)) > 1, slots(space)), timeout=SLOW_MACHINE)
    space.kube.merge("BackupPolicy", "often", space.namespace, {"spec": {"suspend": True}})
    wait_for("suspended", lambda: until(_reason(space) == "Suspended", _reason(space)), timeout=SLOW_MACHINE)
    runs = slots(space)
    assert runs.pop(first) == ["second", "vm"]
    assert set(map(tuple, runs.values())) <= {("other", "second"), ("other",)}, "one whose backup runs is left out"
    for backup in created(space):
        space.wait_phase("Completed", backup["metadata"]["name"])
    annotations = {names.ANNOTATION_RUN: "now"}
    space.kube.merge("BackupPolicy", "often", space.namespace, {"metadata": {"annotations": annotations}})

    def requested() -> dict[str, list[str]]:
        return {run: vms for run, vms in slots(space).items() if run.startswith("run-")}

    wait_for("the requested run", lambda: until(requested(), slots(space)), timeout=SLOW_MACHINE)
    wait_for(
        "its end",
        lambda: until(list(requested().values()) == [["other", "second"]], slots(space)),
        timeout=SLOW_MACHINE,
    )
    for backup in created(space):
        space.wait_phase("Completed", backup["metadata"]["name"])
    keep_newest(space)
    status = space.status("often", "BackupPolicy")
    assert (status["vms"], status["lastCreated"], status["lastRequest"]) == (2, 2, "now")
    newest = max((b for b in created(space) if b["spec"]["vmRef"]["name"] == "other"), key=_age)
    images.assert_identical(space, newest["metadata"]["name"], vm="other")
    (shown,) = space.kube.table("BackupPolicy", space.namespace)
    assert (shown["VMs"], shown["Reason"], shown["Repository"]) == (2, _reason(space), "repo")


def keep_newest(space: Workspace) -> None:
    """One restore point of each VM that the policy still backs up; a VM without the label keeps all."""
    left = len([backup for backup in created(space) if backup["spec"]["vmRef"]["name"] == "vm"])
    spec = {"suspend": False, "schedules": [], "retention": {"keepLast": 1}}
    space.kube.merge("BackupPolicy", "often", space.namespace, {"spec": spec})

    def expired() -> None:
        counts = Counter(str(backup["spec"]["vmRef"]["name"]) for backup in created(space))
        until(counts == {"vm": left, "second": 1, "other": 1}, counts)

    wait_for("the end of all but the newest", expired, timeout=SLOW_MACHINE)
    wait_for(
        "the policy's word on it",
        lambda: until(_retention(space) == ("Applied", {"restorePoints": 2, "expired": 0}), _retention(space)),
        timeout=SLOW_MACHINE,
    )


def _retention(space: Workspace) -> tuple[str, dict[str, int]]:
    status = space.status("often", "BackupPolicy")
    return str(condition(status, "Retention").get("reason", "")), status.get("retention", {})


def _age(backup: dict[str, Any]) -> str:
    return str(backup["metadata"]["creationTimestamp"])


def _reason(space: Workspace) -> str:
    return str(condition(space.status("often", "BackupPolicy"), "Ready").get("reason", ""))
