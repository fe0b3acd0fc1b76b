"""The VirtualMachine that a Restore makes: from the hardware of the restore point and the tables of the spec. Pure.

Names of networks and datastores come from vCenter: they are compared and shown, and never become a name or an option.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sendense_operator.api.v1alpha1.known_hardware import KnownHardware, KnownNetworkCard
from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus
from sendense_operator.api.v1alpha1.virtual_machine_target import (
    DiskBus,
    Firmware,
    HardwareSettings,
    NetworkCardModel,
    NetworkConnection,
    PlannedMachine,
    PlannedNetworkCard,
    VirtualMachineTarget,
)
from sendense_operator.formatting import human_list
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.vma.untrusted_text import tidy

_FIELD: Final = "spec.target.virtualMachine"
_SHOWN: Final = 80
"""Characters of a name from vCenter that a message shows."""
_VIRTIO_GUESTS: Final = (
    "linux", "ubuntu", "debian", "rhel", "centos", "sles", "suse", "fedora", "coreos", "photon", "freebsd",
)  # fmt: skip
"""Parts of the identifiers of guests whose kernels have drivers for virtio."""
_EFI_GUESTS: Final = ("windows11", "windows12", "windows 11", "windows 12")
"""Parts of the identifiers of guests that can only be installed with EFI."""


def decide_machine(target: VirtualMachineTarget, known: KnownHardware | None, point: str) -> PlannedMachine | Problem:
    """Return the VirtualMachine to make; the Problem says what is not known or not mapped. `point`: its Backup."""
    hardware, wanted = known or KnownHardware(), target.hardware or HardwareSettings()
    processors, memory = wanted.processors or hardware.processors, wanted.memory_bytes or hardware.memory_bytes
    if processors is None or memory is None:
        return _unknown(point, {"processors": processors, "memoryBytes": memory})
    cards = _connect_cards(target, known)
    if isinstance(cards, Problem):
        return cards
    guest = hardware.guest_os
    return PlannedMachine(
        name=target.name,
        processors=processors,
        memory_bytes=memory,
        guest_os=guest,
        firmware=wanted.firmware or _firmware_of(guest),
        disk_bus=wanted.disk_bus or (DiskBus.VIRTIO if _has_virtio(guest) else DiskBus.SATA),
        network_card_model=wanted.network_card_model
        or (NetworkCardModel.VIRTIO if _has_virtio(guest) else NetworkCardModel.E1000E),
        network_cards=cards,
    )


def _unknown(point: str, values: dict[str, int | None]) -> Problem:
    missing = [name for name, value in values.items() if value is None]
    fields = human_list([f"{_FIELD}.hardware.{name}" for name in missing])
    text = (
        f"the status of Backup {point} does not say {human_list(missing)} of the VM (status.hardware): set {fields} in "
        "a new Restore"
    )
    return Problem("HardwareUnknown", text, Meaning.FINAL)


def _has_virtio(guest: str) -> bool:
    return any(part in guest.lower() for part in _VIRTIO_GUESTS)


def _firmware_of(guest: str) -> Firmware:
    return Firmware.EFI if any(part in guest.lower() for part in _EFI_GUESTS) else Firmware.BIOS


def _connect_cards(target: VirtualMachineTarget, known: KnownHardware | None) -> list[PlannedNetworkCard] | Problem:
    """Return the network cards, each with its connection; one for a VM of which none are known, if there is a default.

    A MAC address that is not one of a single card, or that an earlier card has, is left out: KubeVirt chooses one.
    """
    cards = known.network_cards if known is not None else []
    if known is None and target.default_network is not None:
        cards = [KnownNetworkCard()]
    table: dict[str, NetworkConnection] = {one.network: one for one in target.networks}
    found = [(card, table.get(card.network) or target.default_network) for card in cards]
    if lacking := [card.network for card, connection in found if connection is None]:
        text = (
            f"{_FIELD}.networks names no network for {_listed(lacking, 'a card whose network is not known')}: add each "
            "in a new Restore, or set defaultNetwork"
        )
        return Problem("NetworkNotMapped", text, Meaning.FINAL)
    connected = [(card, connection) for card, connection in found if connection is not None]
    if len(pods := [card.network for card, connection in connected if connection.pod is not None]) > 1:
        text = (
            f"{_FIELD} connects {len(pods)} network cards to the pod network, and a VirtualMachine can have one there: "
            f"map {_listed(pods, 'a card whose network is not known')} to different networks in a new Restore"
        )
        return Problem("PodNetworkShared", text, Meaning.FINAL)
    addresses = _addresses(card for card, _ in connected) if target.keep_mac_addresses else [None] * len(connected)
    return [
        PlannedNetworkCard(network=card.network, mac_address=mac, pod=connection.pod, multus=connection.multus)
        for (card, connection), mac in zip(connected, addresses, strict=True)
    ]


def _addresses(cards: Iterable[KnownNetworkCard]) -> list[str | None]:
    taken, addresses = set[str](), list[str | None]()
    for card in cards:
        mac = card.mac_address
        usable = mac is not None and mac not in taken and int(mac[:2], 16) % 2 == 0 and mac.strip("0:")
        addresses.append(mac if usable else None)
        taken.add(mac or "")
    return addresses


def choose_storage_classes(
    target: VirtualMachineTarget, known: KnownHardware | None, disks: Sequence[RestoredDiskStatus]
) -> list[RestoredDiskStatus] | Problem:
    """Return the disks, each with the StorageClass of its claim; None is the cluster's default."""
    table = {one.datastore: one.storage_class_name for one in target.storage_classes}
    datastores = known.datastores if known is not None else []
    chosen, lacking = list[RestoredDiskStatus](), list[str]()
    for disk in disks:
        datastore = datastores[disk.index] if disk.index < len(datastores) else ""
        storage_class = table.get(datastore) or target.default_storage_class_name
        if storage_class is None and table:
            lacking.append(f"{_listed([datastore], 'the unknown datastore')} of disk {disk.index}")
        copy = disk.model_copy()
        copy.storage_class_name = storage_class
        chosen.append(copy)
    if lacking:
        text = (
            f"{_FIELD}.storageClasses names no StorageClass for {human_list(lacking)}: add each in a new Restore, or "
            "set defaultStorageClassName"
        )
        return Problem("DatastoreNotMapped", text, Meaning.FINAL)
    return chosen


def _listed(found: Sequence[str], unknown: str) -> str:
    """Return names from vCenter for a message; `unknown`: the word for an empty one."""
    return human_list([f'"{tidy(name[:_SHOWN])}"' if name else unknown for name in dict.fromkeys(found)])
