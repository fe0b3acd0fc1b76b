"""KubeVirt's VirtualMachine of a Restore, from the plan in the status. Pure."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus
from sendense_operator.api.v1alpha1.virtual_machine_target import (
    DiskBus,
    Firmware,
    NetworkCardModel,
    PlannedMachine,
    PlannedNetworkCard,
)
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref
from sendense_operator.reconcile.state.pruning import KEPT_FROM_PRUNING

_MIB: Final = 1 << 20
_BUSES: Final = {DiskBus.VIRTIO: "virtio", DiskBus.SATA: "sata", DiskBus.SCSI: "scsi"}
_MODELS: Final = {
    NetworkCardModel.VIRTIO: "virtio",
    NetworkCardModel.E1000E: "e1000e",
    NetworkCardModel.E1000: "e1000",
}
_BOOTLOADERS: Final[dict[Firmware, Obj]] = {
    Firmware.BIOS: {"bios": {}},
    # KubeVirt turns secure boot on unless this says no.
    Firmware.EFI: {"efi": {"secureBoot": False}},
    Firmware.EFI_SECURE_BOOT: {"efi": {"secureBoot": True}},
}


def build_machine(restore: ObservedRestore, machine: PlannedMachine) -> Obj:
    """Return the VirtualMachine. It belongs to the Restore, and is not started.

    Nothing in it is text from vCenter. The firmware's UUID is left to KubeVirt, which makes a constant one of the name:
    two VMs with one UUID, the original and its copy, would confuse what manages them by it.
    """
    labels = {names.LABEL_RESTORE: restore.name, names.LABEL_COMPONENT: names.COMPONENT_RESTORE}
    vm_labels = {}
    if restore.status.restore_point is not None:
        vm_labels[names.LABEL_VM] = restore.status.restore_point.vm_name
    return {
        "metadata": {
            "namespace": restore.namespace,
            "name": machine.name,
            "labels": labels | vm_labels,
            "annotations": dict(KEPT_FROM_PRUNING),
            "ownerReferences": [owner_ref(restore.obj)],
        },
        "spec": {
            "runStrategy": "Halted",
            # Without the component: its pod must not be taken for a worker.
            "template": {"metadata": {"labels": vm_labels}, "spec": _instance(machine, restore.status.disks)},
        },
    }


def _instance(machine: PlannedMachine, disks: list[RestoredDiskStatus]) -> Obj:
    features: Obj = {"acpi": {}}
    if machine.firmware is Firmware.EFI_SECURE_BOOT:
        features["smm"] = {"enabled": True}  # which secure boot requires
    domain: Obj = {
        # One socket: editions of Windows use no more than two.
        "cpu": {"cores": machine.processors, "sockets": 1, "threads": 1},
        "memory": {"guest": _quantity(machine.memory_bytes)},
        "firmware": {"bootloader": _BOOTLOADERS[machine.firmware]},
        "features": features,
        "devices": {
            "disks": [
                {"name": _disk_name(disk), "disk": {"bus": _BUSES[machine.disk_bus]}, "bootOrder": order}
                for order, disk in enumerate(disks, 1)
            ],
            "interfaces": [_interface(index, card, machine) for index, card in enumerate(machine.network_cards)],
            # Without cards KubeVirt would add one.
            "autoattachPodInterface": False,
        },
    }
    return {
        "architecture": "amd64",
        "domain": domain,
        "networks": [_network(index, card) for index, card in enumerate(machine.network_cards)],
        "volumes": [
            {"name": _disk_name(disk), "persistentVolumeClaim": {"claimName": disk.claim_name}} for disk in disks
        ],
    }


def _quantity(count: int) -> str:
    return f"{count // _MIB}Mi" if count % _MIB == 0 else str(count)


def _disk_name(disk: RestoredDiskStatus) -> str:
    return f"disk-{disk.index}"


def _card_name(index: int) -> str:
    return f"card-{index}"


def _interface(index: int, card: PlannedNetworkCard, machine: PlannedMachine) -> Obj:
    binding: Obj = {"masquerade": {}} if card.multus is None else {"bridge": {}}
    address = {"macAddress": card.mac_address} if card.mac_address is not None else {}
    return {"name": _card_name(index), "model": _MODELS[machine.network_card_model], **binding, **address}


def _network(index: int, card: PlannedNetworkCard) -> Obj:
    source: Obj = {"pod": {}} if card.multus is None else {"multus": {"networkName": card.multus}}
    return {"name": _card_name(index), **source}
