"""An appliance that discovers, and VMs for it to find."""

from __future__ import annotations

from typing import Any

from tests.support import sample
from tests.support.objects import Obj, status_and_reason
from tests.support.sample import GIB, vm_uuid
from tests.wiring.rig import Rig

from sendense_operator.cluster import kinds
from sendense_operator.vma.errors import VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.messages import InventoryDisk, InventoryVM

INTERVAL = 600
NO_WORD = [
    (VMARefused("cbt-status", 500, "Internal server error"), "ApplianceError"),
    (VMARefused("cbt-status", 500, ""), "ApplianceError"),
    (VMARefused("cbt-status", 404, "404 page not found"), "ApplianceError"),
    (VMARefused("cbt-status", 404, "<html><title>404 Not Found</title></html>"), "ApplianceError"),
    (VMAGarbage("cbt-status: enabled: Field required"), "ApplianceError"),
    (VMAUnreachable("cbt-status: the VMA did not answer within 30 s"), "ApplianceUnreachable"),
    (VMARefused("cbt-status", 500, "Permission to perform this operation was denied."), "VCenterRefused"),
    (VMARefused("cbt-status", 500, "dial tcp 10.0.0.1:443: i/o timeout"), "VCenterUnreachable"),
]
"""Answers that do not say whether there is a VM."""


def vm(number: int, path: str = "", *, name: str = "", disks: int = 1, **more: Any) -> InventoryVM:
    path = path or f"/DC1/vm/vm{number}"
    listed = tuple(InventoryDisk(id=f"disk-{2016 - n}", capacity_bytes=GIB + n) for n in range(disks))
    return InventoryVM(id=vm_uuid(number), name=name or path.rpartition("/")[2], path=path, disks=listed, **more)


class World(Rig):
    """An appliance that discovers."""

    def __init__(self, *machines: InventoryVM, **rules: Any) -> None:
        super().__init__()
        self.vma.machines = {"DC1": list(machines)}
        self.create_secret()
        discovery = {"datacenters": ["DC1"], "intervalSeconds": INTERVAL, **rules}
        self.create(kinds.APPLIANCE, sample.appliance(discovery=discovery))

    @property
    def machines(self) -> list[InventoryVM]:
        return self.vma.machines["DC1"]

    def objects(self) -> dict[str, Obj]:
        """ProtectedVMs by their paths; of two with one path, the later one."""
        return {obj["spec"]["path"].removeprefix("/DC1/vm/"): obj for obj in self.world.cluster.all(kinds.PROTECTED_VM)}

    def names(self) -> dict[str, str]:
        """Their names."""
        return {path: str(obj["metadata"]["name"]) for path, obj in self.objects().items()}

    def reported(self, name: str = "vma") -> Obj:  # type: ignore[override]
        """Return what the appliance's status says of its discovery."""
        found: Obj = self.world.cluster.one(kinds.APPLIANCE, name).get("status", {}).get("discovery") or {}
        return found

    def verdict(self) -> tuple[str, str]:
        """Return status and reason of the appliance's condition."""
        return status_and_reason(self.world.cluster.one(kinds.APPLIANCE, "vma"), "Discovered")

    def vm_reason(self, path: str, kind: str = "Ready") -> str:
        """Return the reason of a ProtectedVM's condition."""
        return status_and_reason(self.objects().get(path) or {}, kind)[1]

    def lists(self) -> int:
        """Return how often all VMs were asked for."""
        return self.vma.asked.count("DC1")

    async def found(self) -> World:
        """After the first discovery, when all that it made has been checked."""
        await self.run(lambda: self.verdict() == ("True", "Discovered"))
        await self.run(lambda: all(self.vm_reason(path) for path in self.objects()))
        return self

    async def next(self) -> None:
        """Let the next discovery come, and what it wakes."""
        await self.settle(seconds=INTERVAL + 30)
