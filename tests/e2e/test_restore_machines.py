"""A restore point becomes a VirtualMachine by KubeVirt's own definition, which nobody starts."""

from __future__ import annotations

import hashlib

import pytest
from tests.e2e.test_restores import ODD, SPARSE, completed, named
from tests.support import manifests
from tests.support.client_pods import run_in_pod
from tests.support.namespaces import wait_gone
from tests.support.objects import Obj, find_condition
from tests.support.points import History
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

_NETWORKS = [{"network": "VM Network", "pod": {}}]


def restore(space: Workspace, name: str, **machine: object) -> None:
    target = {"virtualMachine": {"name": "web", "networks": _NETWORKS, **machine}}
    space.kube.create(manifests.restore(name, space.namespace, source=named("full"), target=target))


@pytest.mark.usefixtures("virtual_machines")
def test_a_restore_point_becomes_a_virtual_machine(space: Workspace, history: History) -> None:
    """With the hardware that the appliance reported; it outlives its Restore, and a second one finds its name taken."""
    space.ready(ODD, SPARSE)
    history.backup("full")
    hardware = space.status("full")["hardware"]
    restore(space, "new")
    status = completed(space, "new")
    planned = status["virtualMachine"]
    assert (planned["processors"], planned["memoryBytes"]) == (hardware["processors"], hardware["memoryBytes"])

    def released() -> Obj:
        machine = space.get("web", "VirtualMachine")
        until("ownerReferences" not in machine["metadata"], machine["metadata"])
        return machine

    spec = wait_for("the VirtualMachine on its own", released)["spec"]
    assert spec["runStrategy"] == "Halted"
    instance = spec["template"]["spec"]
    (card,) = instance["domain"]["devices"]["interfaces"]
    assert card["macAddress"] == hardware["networkCards"][0]["macAddress"]
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in instance["volumes"]]
    assert claims == ["web-disk-0", "web-disk-1"]
    space.kube.delete("Restore", "new", space.namespace)
    wait_gone(space.kube, "Restore", "new", space.namespace)
    words = run_in_pod(space, "reader", "cd /; sha256sum web-disk-*/disk.img", claims=claims).split()
    assert words[::2] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in history.kept["full"]]

    restore(space, "again")
    status = space.wait_phase("Failed", "again", "Restore")
    assert find_condition(status, "Ready")["reason"] == "ClaimExists"
