"""What the controller learned of VMs from vCenter and keeps for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sendense_operator.api.v1alpha1.protectedvm import VMDisk
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.vma.messages import Inventory, InventoryVM


@dataclass(frozen=True)
class FoundVM:
    """A VM as vCenter has it."""

    vm: InventoryVM
    disks: tuple[VMDisk, ...]
    cbt_enabled: bool | None


@dataclass(frozen=True)
class VMLookup:
    """What was found out of a VM, when (monotonic seconds), and for which specs."""

    time: float
    specs: tuple[int, str, int]
    """Generation of the VM, UID and generation of its appliance."""
    result: FoundVM | Problem


class DatacenterKey(NamedTuple):
    """A datacenter as an appliance sees it."""

    appliance: ObjectKey
    datacenter: str


@dataclass(frozen=True)
class DatacenterInventory:
    """All VMs of one datacenter, as an appliance's discovery last heard of them."""

    time: float
    """When vCenter was asked (monotonic seconds)."""
    specs: tuple[str, int]
    """UID and generation of the appliance."""
    inventory: Inventory
