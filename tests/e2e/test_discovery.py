"""VMs come from vCenter, are followed where they go, and are marked when they are gone."""

from __future__ import annotations

from typing import Any, Final

from tests.support.objects import Obj, find_condition
from tests.support.sample import vm_uuid
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace, summary

SMALL: Final = Disk("pattern", 4 * MIB)
KEEPER: Final = "keeper"
"""A VM that keeps the datacenter from being empty, which the appliance takes for one that is not there."""


def discovering(space: Workspace, **rules: Any) -> None:
    """An appliance that asks as often as it may."""
    space.add_secret()
    space.vma.add_vm(KEEPER, SMALL)
    rules = {"datacenters": ["DC1"], "intervalSeconds": 10, "excludePatterns": [KEEPER], **rules}
    space.add_appliance(discovery=rules)


def objects(space: Workspace) -> dict[str, Obj]:
    """ProtectedVMs of the namespace by their paths."""
    listed = space.kube.select("ProtectedVM", space.namespace)
    return {str(obj["spec"]["path"]).removeprefix("/DC1/vm/"): obj for obj in listed}


def wait_found(space: Workspace, *paths: str, timeout: float = SLOW_MACHINE) -> dict[str, Obj]:
    """Return the ProtectedVMs, once there is one of each of these paths and no other, and all are Ready."""

    def probe() -> dict[str, Obj]:
        found = objects(space)
        until(set(found) == set(paths), sorted(found))
        for obj in found.values():
            ready = find_condition(obj.get("status") or {}, "Ready")
            current = ready.get("observedGeneration") == obj["metadata"]["generation"]
            until(current and ready["status"] == "True", summary(obj.get("status") or {}))
        return found

    return wait_for(f"ProtectedVMs of {', '.join(paths)}", probe, timeout=timeout)


def wait_told(space: Workspace, **wanted: Any) -> Obj:
    """Return the appliance's status.discovery once it says this."""

    def probe() -> Obj:
        reported: Obj = space.status("vma", "VMwareAppliance").get("discovery") or {}
        until(all(reported.get(name) == value for name, value in wanted.items()), reported)
        return reported

    return wait_for(f"a discovery with {wanted}", probe, timeout=SLOW_MACHINE)


def test_from_a_dry_run_to_a_backup(space: Workspace) -> None:
    discovering(space, dryRun=True, folder="prod", namePatterns=["db*"])
    space.vma.add_vm("db 1/ü", SMALL, Disk("random", 2 * MIB), path="/DC1/vm/prod/db 1%2fü", uuid=vm_uuid(1))
    space.vma.add_vm("db2", SMALL, path="/DC1/vm/test/db2", uuid=vm_uuid(2))
    reported = wait_told(space, matched=1, pending=1)
    assert [one["path"] for one in reported["planned"]] == ["/DC1/vm/prod/db 1%2fü"]
    assert objects(space) == {}
    space.kube.merge("VMwareAppliance", "vma", space.namespace, {"spec": {"discovery": {"dryRun": False}}})
    (obj,) = wait_found(space, "prod/db 1%2fü").values()
    assert obj["metadata"]["name"] == reported["planned"][0]["name"]
    assert obj["spec"]["uuid"] == vm_uuid(1)
    assert [disk["virtualSize"] for disk in obj["status"]["disks"]] == [4 * MIB, 2 * MIB]
    assert find_condition(obj["status"], "ChangeTracking")["status"] == "True"
    space.add_repository()
    space.backup(vmRef={"name": obj["metadata"]["name"]})
    space.wait_phase("Completed")


def labels_by_rules(obj: Obj) -> dict[str, str]:
    return {key: value for key, value in obj["metadata"]["labels"].items() if "/" not in key}


def test_renamed_vanished_and_back(space: Workspace) -> None:
    """The object stays the VM's, and its labels follow the rules."""
    rules: list[Obj] = [
        {"name": "databases", "namePatterns": ["db*"], "labels": {"tier": "gold", "kind": "db"}},
        {"name": "archive", "folder": "archive", "labels": {"backup": "rare"}},
    ]
    discovering(space, labels=rules)
    space.vma.add_vm("db", SMALL, uuid=vm_uuid(1))
    (obj,) = wait_found(space, "db").values()
    name = obj["metadata"]["name"]
    assert labels_by_rules(obj) == {"tier": "gold", "kind": "db"}
    space.vma.move_vm("db", "/DC1/vm/archive/db-old", SMALL, uuid=vm_uuid(1))
    (obj,) = wait_found(space, "archive/db-old").values()
    assert (obj["metadata"]["name"], obj["status"]["vmName"]) == (name, "db-old")
    assert labels_by_rules(obj) == {"tier": "gold", "kind": "db", "backup": "rare"}
    space.vma.remove_vm("db-old")
    space.wait_reason("VMVanished", name, "ProtectedVM")
    assert space.status(name, "ProtectedVM")["vanishedTime"]
    wait_told(space, vanished=1)
    space.vma.add_vm("db", SMALL, uuid=vm_uuid(1))
    assert "vanishedTime" not in wait_found(space, "db")["db"]["status"]


def test_two_of_one_name_clones_and_one_by_hand(space: Workspace) -> None:
    discovering(space)
    for folder, number in (("a", 1), ("b", 2), ("c", 2)):
        space.vma.add_vm("db", SMALL, path=f"/DC1/vm/{folder}/db", uuid=vm_uuid(number))
    space.add_vm("mine", SMALL, vmware="web")
    found = wait_found(space, "a/db", "b/db", "c/db", "web")
    names = {path: obj["metadata"]["name"] for path, obj in found.items()}
    assert len(set(names.values())) == 4
    assert names["web"] == "mine"
    assert {name.rpartition("-")[0] for name in names.values()} == {"db", ""}


def test_a_datacenter_that_is_not_there(space: Workspace) -> None:
    discovering(space, datacenters=["Nowhere", "DC1"], excludePatterns=[])
    wait_found(space, KEEPER)

    def probe() -> None:
        found = find_condition(space.status("vma", "VMwareAppliance"), "Discovered")
        until((found.get("status"), found.get("reason")) == ("False", "DatacenterNotFound"), found)
        until("Nowhere" in found["message"], found)

    wait_for("what is wrong with the discovery", probe)
    space.wait_ready("vma", "VMwareAppliance")
