"""What the controller found out and keeps for a while; below everything that finds out or keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sendense_operator.api.v1alpha1.protectedvm import VMDisk
from sendense_operator.reconcile.problems import Problem
from sendense_operator.vma.models import InventoryVM

Obj = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A VM as vCenter has it."""

    vm: InventoryVM
    disks: tuple[VMDisk, ...]
    cbt_enabled: bool | None


@dataclass(frozen=True)
class Discovery:
    """What was found out of a VM, when (monotonic seconds), and for which specs."""

    time: float
    specs: tuple[int, str, int]
    """Generation of the VM, UID and generation of its appliance."""
    result: Found | Problem


@dataclass
class Snapshot:
    """One namespace as it was a moment ago. Shared for a second, so that a queue of hundreds is read once."""

    taken: float
    jobs: list[Obj]
    waiting: list[Obj]
    vms: dict[str, Obj]
    repositories: dict[str, Obj]
    appliances: dict[str, Obj]
    exclusive: dict[str, bool] = field(default_factory=dict)
    """By claim: whether one pod at a time may use it."""
