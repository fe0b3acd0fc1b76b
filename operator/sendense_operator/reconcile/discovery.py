"""Looking a VM up in vCenter, through its appliance."""

from __future__ import annotations

from sendense_operator.api.v1alpha1.base import MAX_DISKS, MAX_INT
from sendense_operator.api.v1alpha1.names import last_path_element
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.reconcile.access import Access, opened
from sendense_operator.reconcile.context import Appliance, Context
from sendense_operator.reconcile.facts import Found
from sendense_operator.reconcile.problems import Meaning, Problem
from sendense_operator.reconcile.tasks import datacenter_of
from sendense_operator.vma.errors import VMAError, VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.inventory import device_key, find_vm
from sendense_operator.vma.models import Inventory, InventoryVM
from sendense_operator.vma.refusals import Refusal, reason_of_refusal


async def discover(ctx: Context, access: Access, spec: ProtectedVMSpec) -> Found | Problem:
    """Ask vCenter for the VM at `spec.path`."""
    try:
        async with opened(ctx, access) as client:
            return await _ask(client, access, spec)
    except VMAGarbage as error:
        return Problem("ApplianceError", f"{error} (appliance {access.spec.url})", Meaning.RETRY)
    except VMAUnreachable as error:
        return Problem("ApplianceUnreachable", str(error), Meaning.RETRY)
    except VMAError as error:
        return Problem("ApplianceError", str(error), Meaning.RETRY)
    except (ValueError, OSError) as error:
        return Problem("ApplianceInvalid", f"spec of the appliance: {error}")


async def _ask(client: Appliance, access: Access, spec: ProtectedVMSpec) -> Found | Problem:
    try:
        vm = await _find(client, access, spec)
    except VMARefused as error:
        return await _refused(client, error, spec.path)
    if vm is None:
        return await _not_found(client, access, spec)
    problem = _check(vm)
    if problem is not None:
        return problem
    return Found(vm, _disks(vm), await _cbt(client, access, spec))


async def _find(client: Appliance, access: Access, spec: ProtectedVMSpec) -> InventoryVM | None:
    """The filter keeps the answer small; what it does with odd names is not known, so a miss is asked again."""
    host, datacenter = access.spec.vcenter.host, datacenter_of(spec)

    async def ask(name_filter: str) -> Inventory:
        return await client.discover(access.credentials, host, datacenter, name_filter)

    return find_vm(await ask(last_path_element(spec.path)), spec.path) or find_vm(await ask(""), spec.path)


async def _refused(client: Appliance, error: VMARefused, vm_path: str) -> Problem:
    """The words of vCenter, unless the appliance itself is what fails."""
    try:
        await client.health()
    except VMAError as sick:
        return Problem("ApplianceError", f"{error}; its health: {sick}", Meaning.RETRY)
    return decide_refusal(error, vm_path)


def decide_refusal(error: VMARefused, vm_path: str) -> Problem:
    """What an error means that the appliance answered for a VM at `vm_path`."""
    match reason_of_refusal(error.text, vm_path):
        case None:
            # Not vCenter's words: the appliance's own trouble, which may pass.
            return Problem("ApplianceError", str(error), Meaning.RETRY)
        case Refusal.VCENTER_UNREACHABLE:
            return Problem("VCenterUnreachable", f"the appliance can't reach vCenter: {error.text}", Meaning.FINAL)
        case _:
            return Problem("VCenterRefused", f"vCenter: {error.text}", Meaning.FINAL)


async def _not_found(client: Appliance, access: Access, spec: ProtectedVMSpec) -> Problem:
    """The VM is not in the inventory; asking for its CBT gives vCenter's own words on that."""
    words = ""
    try:
        await client.cbt_status(access.credentials, access.spec.vcenter.host, spec.path)
    except VMARefused as error:
        words = f": {error.text}"
    except VMAError:
        pass  # the words are a courtesy
    where = f"vCenter {access.spec.vcenter.host} knows no VM at {spec.path!r}"
    return Problem("VMNotFound", f"{where} in datacenter {datacenter_of(spec)!r}{words}", Meaning.FINAL)


async def _cbt(client: Appliance, access: Access, spec: ProtectedVMSpec) -> bool | None:
    try:
        status = await client.cbt_status(access.credentials, access.spec.vcenter.host, spec.path)
    except VMAError:
        return None  # shown only; the worker asks again
    return status.enabled


def _check(vm: InventoryVM) -> Problem | None:
    if not vm.disks:
        return Problem("NoDisks", "the VM has no disks", Meaning.FINAL)
    if len(vm.disks) > MAX_DISKS:
        return Problem("TooManyDisks", f"{len(vm.disks)} disks; at most {MAX_DISKS}", Meaning.FINAL)
    keys = {device_key(disk, index) for index, disk in enumerate(vm.disks)}
    if len(keys) != len(vm.disks):
        return Problem("ApplianceError", "discover: two disks have the same key", Meaning.RETRY)
    return None


def _disks(vm: InventoryVM) -> tuple[VMDisk, ...]:
    return tuple(
        VMDisk(
            index=index,
            key=device_key(disk, index),
            label=disk.label[:1024],
            capacity_bytes=min(disk.capacity_bytes, MAX_INT),
            vmdk_path=disk.vmdk_path[:1024],
            datastore=disk.datastore[:1024],
        )
        for index, disk in enumerate(vm.disks)
    )
