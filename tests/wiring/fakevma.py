"""An appliance and its vCenter, in memory."""

from __future__ import annotations

from tests.support.sample import GIB

from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import VMARefused
from sendense_operator.vma.messages import BrokenVM, CBTStatus, Inventory, InventoryDisk, InventoryVM, VMAHealth


class FakeVMA:
    """An appliance whose vCenter has the VMs `db`, `web` and so on, as many as are asked for."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        """Of each call."""
        self.vcenter_error: Exception | None = None
        """Of the calls that go on to vCenter."""
        self.vms = ["db", "web", *(f"vm{number}" for number in range(20))]
        self.disks = 1
        self.layout: dict[int, int] = {}
        """Size of each disk by its device key, if they are not `disks` ordinary ones."""
        self.machines: dict[str, list[InventoryVM]] = {}
        """By datacenter: the VMs, if they are not the ordinary ones."""
        self.hidden: set[str] = set()
        """Paths of VMs that vCenter has and lists leave out."""
        self.broken: set[str] = set()
        """Paths of VMs whose entries in a list can't be read."""
        self.list_errors: dict[str, Exception] = {}
        """By datacenter: why it can't be listed."""
        self.cbt_error: Exception | None = None
        """Of the calls that ask for a VM's CBT."""
        self.cbt = True
        self.asked: list[str] = []
        """What vCenter was asked for: `DC1`, `DC1 NAME`, or the path whose CBT was."""

    async def health(self) -> VMAHealth:
        self._fail()
        return VMAHealth(status="healthy", uptime="231ns")

    async def discover(
        self, credentials: Credentials, vcenter: str, datacenter: str, name_filter: str = ""
    ) -> Inventory:
        self.asked.append(f"{datacenter} {name_filter}".strip())
        self._fail(self.vcenter_error or self.list_errors.get(datacenter))
        if self.machines:
            return self._list(datacenter, name_filter)
        layout = self.layout or {2000 + index: GIB for index in range(self.disks)}
        disks = tuple(InventoryDisk(id=f"disk-{key}", capacity_bytes=size) for key, size in layout.items())
        return Inventory(vms=tuple(InventoryVM(name=name, path=f"/DC1/vm/{name}", disks=disks) for name in self.vms))

    async def cbt_status(self, credentials: Credentials, vcenter: str, vm_path: str) -> CBTStatus:
        self.asked.append(vm_path)
        self._fail(self.vcenter_error or self.cbt_error)
        paths = {vm.path for vms in self.machines.values() for vm in vms} or {f"/DC1/vm/{name}" for name in self.vms}
        if vm_path not in paths:
            raise VMARefused("cbt-status", 500, f"vm '{vm_path}' not found")
        return CBTStatus(enabled=self.cbt)

    async def aclose(self) -> None: ...

    def _list(self, datacenter: str, name_filter: str) -> Inventory:
        if datacenter not in self.machines:
            raise VMARefused("discover", 500, f"datacenter '{datacenter}' not found")
        reported = [vm for vm in self.machines[datacenter] if name_filter in vm.name and vm.path not in self.hidden]
        broken = [BrokenVM(path=vm.path, message="vms[0].disks: bad") for vm in reported if vm.path in self.broken]
        return Inventory(vms=tuple(vm for vm in reported if vm.path not in self.broken), broken=tuple(broken))

    def _fail(self, more: Exception | None = None) -> None:
        error = self.error or more
        if error is not None:
            raise error
