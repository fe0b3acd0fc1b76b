"""The VirtualMachine as KubeVirt receives it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample

from sendense_operator.api.v1alpha1.known_hardware import KnownHardware
from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine, VirtualMachineTarget
from sendense_operator.reconcile.restores.machine_object import build_machine
from sendense_operator.reconcile.restores.machine_plan import decide_machine
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref

PLAN: dict[str, Any] = {
    "name": "web",
    "processors": 4,
    "memoryBytes": 8 << 30,
    "firmware": "BIOS",
    "diskBus": "Virtio",
    "networkCardModel": "E1000e",
}


def observed() -> ObservedRestore:
    point = {"backupName": "b1", "uid": "u", "vmName": "db", "repositoryName": "store", "time": sample.stamp()}
    disks = [{"index": index, "virtualSize": 1 << 30, "claimName": f"web-disk-{index}"} for index in (0, 2)]
    target = {"virtualMachine": {"name": "web"}}
    return ObservedRestore.of(sample.restore(status={"restorePoint": point, "disks": disks}, target=target))


def built(**plan: Any) -> Any:
    return build_machine(observed(), PlannedMachine.model_validate({**PLAN, **plan}))


def test_the_machine() -> None:
    cards = [{"network": "LAN", "multus": "shop/lan", "macAddress": "00:50:56:ab:00:01"}, {"network": "DMZ", "pod": {}}]
    machine = built(networkCards=cards)
    meta, spec = machine["metadata"], machine["spec"]
    assert meta["ownerReferences"] == [owner_ref(observed().obj)]
    assert meta["labels"]["backup.sendense.io/vm"] == "db"
    assert spec["runStrategy"] == "Halted"
    assert "backup.sendense.io/component" not in spec["template"]["metadata"]["labels"], "its pod is no worker"
    instance = spec["template"]["spec"]
    domain = instance["domain"]
    assert (domain["cpu"]["cores"], domain["memory"]) == (4, {"guest": "8192Mi"})
    assert domain["devices"]["disks"] == [
        {"name": "disk-0", "disk": {"bus": "virtio"}, "bootOrder": 1},
        {"name": "disk-2", "disk": {"bus": "virtio"}, "bootOrder": 2},
    ]
    assert instance["volumes"] == [
        {"name": f"disk-{index}", "persistentVolumeClaim": {"claimName": f"web-disk-{index}"}} for index in (0, 2)
    ]
    assert domain["devices"]["interfaces"] == [
        {"name": "card-0", "model": "e1000e", "bridge": {}, "macAddress": "00:50:56:ab:00:01"},
        {"name": "card-1", "model": "e1000e", "masquerade": {}},
    ]
    assert instance["networks"] == [
        {"name": "card-0", "multus": {"networkName": "shop/lan"}},
        {"name": "card-1", "pod": {}},
    ]


@pytest.mark.parametrize(
    ("firmware", "bootloader", "secure"),
    [
        ("BIOS", {"bios": {}}, False),
        ("EFI", {"efi": {"secureBoot": False}}, False),
        ("EFISecureBoot", {"efi": {"secureBoot": True}}, True),
    ],
)
def test_firmware(firmware: str, bootloader: dict[str, Any], secure: bool) -> None:
    domain = built(firmware=firmware)["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"] == {"bootloader": bootloader}
    assert ("smm" in domain["features"]) is secure, "KubeVirt refuses secure boot without it"


def test_without_cards_kubevirt_adds_none() -> None:
    instance = built()["spec"]["template"]["spec"]
    assert (instance["networks"], instance["domain"]["devices"]["interfaces"]) == ([], [])
    assert instance["domain"]["devices"]["autoattachPodInterface"] is False


def test_memory_that_is_no_multiple_of_a_mebibyte() -> None:
    assert built(memoryBytes=(1 << 30) + 1)["spec"]["template"]["spec"]["domain"]["memory"]["guest"] == "1073741825"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=20, max_size=256))
def test_no_text_of_vcenter_is_in_it(name: str) -> None:
    known = KnownHardware.model_validate(
        {
            "processors": 1,
            "memoryBytes": 1 << 30,
            "guestOS": name,
            "networkCards": [{"network": name}],
            "datastores": [name],
        }
    )
    target = VirtualMachineTarget.model_validate({"name": "web", "networks": [{"network": name, "multus": "lan"}]})
    machine = decide_machine(target, known, "b1")
    assert isinstance(machine, PlannedMachine)
    assert json.dumps(name)[1:-1] not in json.dumps(build_machine(observed(), machine))
