"""KubeVirt's own schema accepts the VirtualMachines that Restores make: each field is one that KubeVirt knows."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tests.support import manifests, sample
from tests.support.kube import ApiError, Kube

from sendense_operator.api.v1alpha1.virtual_machine_target import DiskBus, Firmware, NetworkCardModel, PlannedMachine
from sendense_operator.reconcile.restores.machine_object import build_machine
from sendense_operator.reconcile.restores.restore_status import ObservedRestore

CARDS: list[dict[str, Any]] = [
    {"network": "LAN", "multus": "other/lan", "macAddress": "00:50:56:ab:00:01"},
    {"network": "DMZ", "pod": {}},
]


def built(namespace: str, name: str, **plan: Any) -> dict[str, Any]:
    point = {"backupName": "b1", "uid": "u", "vmName": "db", "repositoryName": "store", "time": sample.stamp()}
    disks = [{"index": index, "virtualSize": 1 << 30, "claimName": f"{name}-disk-{index}"} for index in (0, 63)]
    status = {"restorePoint": point, "disks": disks}
    restore = ObservedRestore.of(sample.restore(status=status, target={"virtualMachine": {"name": name}}))
    machine = PlannedMachine.model_validate({"name": name, "processors": 2, "memoryBytes": (1 << 30) + 1, **plan})
    obj = build_machine(restore, machine)
    return {"kind": "VirtualMachine", **obj, "metadata": {**obj["metadata"], "namespace": namespace}}


@pytest.mark.usefixtures("virtual_machines")
@pytest.mark.parametrize(("firmware", "bus", "model"), list(product(Firmware, DiskBus, NetworkCardModel)))
def test_each_kind_of_hardware(
    kube: Kube, shared_namespace: str, firmware: Firmware, bus: DiskBus, model: NetworkCardModel
) -> None:
    name = f"{firmware}-{bus}-{model}".lower()
    plan = {"firmware": firmware, "diskBus": bus, "networkCardModel": model, "networkCards": CARDS}
    sent = built(shared_namespace, name, **plan)
    made = kube.create(sent)
    assert made["spec"] == sent["spec"], "nothing was pruned"
    kube.delete("VirtualMachine", name, shared_namespace)


@pytest.mark.usefixtures("virtual_machines")
def test_unknown_fields_would_be_refused(kube: Kube, shared_namespace: str) -> None:
    """Otherwise the test above would say nothing."""
    plan = {"firmware": "BIOS", "diskBus": "SATA", "networkCardModel": "E1000"}
    sent = built(shared_namespace, "unknown", **plan)
    sent["spec"]["template"]["spec"]["domain"]["firmwares"] = {}
    with pytest.raises(ApiError, match="firmwares"):
        kube.create(sent)


def test_names_from_vcenter_are_kept_as_they_are(kube: Kube, shared_namespace: str) -> None:
    networks: list[dict[str, Any]] = [
        {"network": name, "pod": {}} for name in ('a "b" $(c)', "网络/Ünï", "..%2f", " x ")
    ]
    target = {"virtualMachine": {"name": "web", "networks": networks}}
    spec = kube.create(manifests.restore("named", shared_namespace, target=target))["spec"]
    assert spec["target"]["virtualMachine"]["networks"] == networks
    kube.delete("Restore", "named", shared_namespace)
