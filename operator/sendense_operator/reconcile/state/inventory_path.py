"""Inventory paths of VMs: the datacenter, and the folders below it. Pure."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec

_VM_FOLDER: Final = "/vm/"


def datacenter_of(vm: ProtectedVMSpec) -> str:
    """Return the VM's datacenter: what the spec says, or what stands before `/vm/` in its path."""
    if vm.datacenter:
        return vm.datacenter
    head, found, _ = vm.path.partition(_VM_FOLDER)
    return (head if found else vm.path.split("/", 2)[1]).strip("/")


def below_datacenter(vm_path: str) -> str:
    """Return folders and name below the datacenter's VM folder, such as production/db01; empty without one."""
    return vm_path.partition(_VM_FOLDER)[2]
