"""The simulated vCenter: logins, look-ups and the words it fails with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from reference_vma import inventory
from reference_vma.cbt import vm_folder
from reference_vma.config import Settings
from reference_vma.faults import FaultTable
from reference_vma.inventory import VM, Disk

_GIB: Final = 1 << 30
_CONTROLLER_KEYS: Final = 16
LOGIN_REFUSED: Final = "ServerFaultCode: Cannot complete login due to an incorrect user name or password."


class VCenterError(Exception):
    """vCenter's own words."""


class VCenter:
    """Logins and the inventory of one appliance's vCenter."""

    def __init__(self, settings: Settings, faults: FaultTable) -> None:
        self._settings = settings
        self._faults = faults

    def login(self, host: str, user: str, password: str) -> None:
        """Raise VCenterError."""
        fault = self._faults.take("vcenter")
        if fault and fault.mode == "down":
            raise VCenterError(f'Post "https://{host}/sdk": dial tcp {host}:443: connect: connection refused')
        if fault or (user, password) != (self._settings.vcenter_user, self._settings.vcenter_password):
            raise VCenterError(LOGIN_REFUSED)

    def find(self, vm_path: str) -> VM:
        """By inventory path. Raises VCenterError."""
        vm = next((vm for vm in inventory.scan(self._settings.disks) if vm.path == vm_path), None)
        if vm is None:
            raise VCenterError(f"vm '{vm_path}' not found")
        return vm

    def discover(self, datacenter: str, name_filter: str) -> list[dict[str, Any]]:
        """Return the VMs of a datacenter whose names contain `name_filter`. Raises VCenterError."""
        machines = [vm for vm in inventory.scan(self._settings.disks) if vm.datacenter == datacenter]
        if not machines:
            raise VCenterError(f"datacenter '{datacenter}' not found")
        return [_describe(vm) for vm in machines if name_filter.lower() in vm.name.lower()]


def cbt_enabled(settings: Settings, vm: VM) -> bool:
    """Return whether change tracking is on: as vm.json says, until a client turns it on."""
    return bool(vm.setting("cbt", True)) or cbt_marker(settings.state, vm.uuid).exists()


def cbt_marker(state: Path, vm_uuid: str) -> Path:
    """Return the file that says that a client turned change tracking on."""
    return vm_folder(state, vm_uuid) / "cbt-enabled"


def _describe(vm: VM) -> dict[str, Any]:
    return {
        "id": vm.uuid,
        "name": vm.name,
        "path": vm.path,
        "datacenter": vm.datacenter,
        "power_state": str(vm.setting("power_state", "poweredOn")),
        "guest_os": str(vm.setting("guest_os", "otherGuest64")),
        "memory_mb": int(vm.setting("memory_mb", 4096)),
        "num_cpu": int(vm.setting("num_cpu", 2)),
        "disks": [_describe_disk(vm, index, disk) for index, disk in enumerate(vm.disks)],
        "networks": [{"name": "VM Network", "type": "", "connected": True, "mac_address": "00:50:56:00:00:01"}],
    }


def _describe_disk(vm: VM, index: int, disk: Disk) -> dict[str, Any]:
    virtual_size = disk.virtual_size
    suffix = f"_{index}" if index else ""
    vmdk = f"[datastore1] {vm.name}/{vm.name}{suffix}.vmdk"
    return {
        "id": f"disk-{disk.key}",
        "label": disk.label,
        "path": vmdk,
        "vmdk_path": vmdk,
        "size_gb": round(virtual_size / _GIB),
        "capacity_bytes": virtual_size,
        "datastore": "datastore1",
        "provisioning_type": "thin",
        "unit_number": disk.key % _CONTROLLER_KEYS,  # repeats with the next controller
    }
