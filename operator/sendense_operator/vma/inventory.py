"""Choosing one VM and its disks from a discover answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sendense_operator.vma.errors import VMAGarbage
from sendense_operator.vma.messages import BrokenVM, Inventory, InventoryDisk, InventoryVM

_DISK_ID = re.compile(r"disk-([0-9]{1,10})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DiscoveredDisk:
    """A disk by its position in the VM's device order."""

    index: int
    key: int
    """VMware's device key, such as 2000."""
    virtual_size: int
    """Size as the guest sees it, in bytes."""
    label: str


def find_vm(inventory: Inventory, path: str) -> InventoryVM | None:
    """Return the VM at an inventory path or None. Raises VMAGarbage if its entry can't be read."""
    for vm in inventory.vms:
        if vm.path == path:
            return vm
    for broken in inventory.broken:
        if broken.path == path:
            raise VMAGarbage(f"discover: {broken.message}")
    return None


def bios_uuid(vm: InventoryVM | BrokenVM) -> str | None:
    """Return the VM's BIOS UUID in lower case; None for what is none. Clones may share one."""
    text = vm.id.strip().lower()
    return text if _UUID.fullmatch(text) else None


def disks_of(vm: InventoryVM) -> tuple[DiscoveredDisk, ...]:
    """Return the VM's disks in device order. Raises VMAGarbage, with the field, for a bad or repeated key."""
    disks = tuple(
        DiscoveredDisk(index, device_key(disk, index), disk.capacity_bytes, disk.label[:256])
        for index, disk in enumerate(vm.disks)
    )
    if len({disk.key for disk in disks}) != len(disks):
        raise VMAGarbage("discover: disks[].id: two disks have the same key")
    return disks


def device_key(disk: InventoryDisk, index: int) -> int:
    """2000 of `disk-2000`. Raises VMAGarbage, naming the field, for another form."""
    match = _DISK_ID.fullmatch(disk.id)
    if match is None:
        raise VMAGarbage(f"discover: disks[{index}].id: {disk.id[:64]!r} is not of the form disk-KEY")
    return int(match.group(1))
