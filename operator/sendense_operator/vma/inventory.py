"""Validation of a discover answer, and selection of a VM and its disks from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import ValidationError

from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import VMAGarbage
from sendense_operator.vma.messages import BrokenVM, Inventory, InventoryDisk, InventoryVM, RawInventory
from sendense_operator.vma.untrusted_text import describe_validation

_DISK_ID = re.compile(r"disk-([0-9]{1,10})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DiscoveredDisk:
    """One disk of a VM."""

    index: int
    """Disk index: position in the VM's device order."""
    key: int
    """Device key, such as 2000."""
    virtual_size: int
    """Virtual size in bytes."""
    label: str


def parse_inventory(raw: RawInventory, credentials: Credentials) -> Inventory:
    """Return the answer with each VM validated; those that are not valid are in `broken`, without secrets."""
    vms: list[InventoryVM] = []
    broken: list[BrokenVM] = []
    for position, entry in enumerate(raw.vms):
        try:
            vms.append(InventoryVM.model_validate(entry))
        except ValidationError as error:
            reported = entry if isinstance(entry, dict) else {}
            message = describe_validation(error, f"vms[{position}]", credentials)
            broken.append(BrokenVM(id=_text(reported.get("id")), path=_text(reported.get("path")), message=message))
    return Inventory(vms=tuple(vms), broken=tuple(broken))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def find_vm(inventory: Inventory, path: str) -> InventoryVM | None:
    """Return the VM at an inventory path, None if there is none. Raises VMAGarbage if its entry is not valid."""
    for vm in inventory.vms:
        if vm.path == path:
            return vm
    for broken in inventory.broken:
        if broken.path == path:
            raise VMAGarbage(f"discover: {broken.message}")
    return None


def bios_uuid(vm: InventoryVM | BrokenVM) -> str | None:
    """Return the VM's BIOS UUID in lower case, None if it is not a UUID. Clones may have the same UUID."""
    text = vm.id.strip().lower()
    return text if _UUID.fullmatch(text) else None


def disks_of(vm: InventoryVM) -> tuple[DiscoveredDisk, ...]:
    """Return the VM's disks in device order. Raises VMAGarbage, naming the field, for a bad or repeated key."""
    disks = tuple(
        DiscoveredDisk(index, device_key(disk, index), disk.capacity_bytes, disk.label[:256])
        for index, disk in enumerate(vm.disks)
    )
    if len({disk.key for disk in disks}) != len(disks):
        raise VMAGarbage("discover: disks[].id: two disks have the same key")
    return disks


def device_key(disk: InventoryDisk, index: int) -> int:
    """Return the device key of a disk ID, such as 2000 of `disk-2000`. Raises VMAGarbage, naming the field."""
    match = _DISK_ID.fullmatch(disk.id)
    if match is None:
        raise VMAGarbage(f"discover: disks[{index}].id: {disk.id[:64]!r} is not of the form disk-KEY")
    return int(match.group(1))
