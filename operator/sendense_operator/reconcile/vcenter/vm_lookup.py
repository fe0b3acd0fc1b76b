"""Looking a VM up in vCenter, through its appliance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sendense_operator.api.v1alpha1.base import MAX_DISKS, MAX_INT
from sendense_operator.api.v1alpha1.names import last_path_element
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.reconcile.state.context import Appliance, VCenterContext
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.vm_records import DatacenterInventory, FoundVM
from sendense_operator.reconcile.vcenter.vma_connection import VMAConnection, opened
from sendense_operator.vma.errors import VMAError, VMARefused, VMAUnreachable
from sendense_operator.vma.inventory import bios_uuid, device_key, find_vm
from sendense_operator.vma.messages import Inventory, InventoryDisk, InventoryVM
from sendense_operator.vma.refusal_texts import VMARefusal, reason_of_refusal


@dataclass(frozen=True)
class VMQuery:
    """What is known of a VM before it is looked up."""

    spec: ProtectedVMSpec
    uuid: str | None = None
    """BIOS UUID that it has to have, or had."""
    followed: bool = False
    """A discovery changes `spec.path` when the VM is moved."""


@dataclass(frozen=True)
class Moved(Problem):
    """The VM is at another path."""

    path: str = ""


async def look_up(
    ctx: VCenterContext, access: VMAConnection, wanted: VMQuery, listing: DatacenterInventory | None = None
) -> FoundVM | Problem:
    """Return what vCenter says of a VM. With a listing, only what is not in there is asked for."""
    try:
        async with opened(ctx, access) as client:
            return await _ask(client, access, wanted, listing)
    except VMAError as error:
        return decide_trouble(error, access.spec.url, wanted.spec.path)
    except (ValueError, OSError) as error:
        return Problem("ApplianceInvalid", f"spec of the appliance: {error}")


async def list_datacenter(ctx: VCenterContext, access: VMAConnection, datacenter: str) -> Inventory | Problem:
    """Return all VMs of a datacenter."""
    try:
        async with opened(ctx, access) as client:
            try:
                return await client.discover(access.credentials, access.spec.vcenter.host, datacenter)
            except VMARefused as error:
                if reason_of_refusal(error.text, "") is VMARefusal.VM_NOT_FOUND:
                    return Problem("DatacenterNotFound", f"vCenter: {error.text}", Meaning.FINAL)
                return await _refused(client, error, "")
    except VMAError as error:
        return decide_trouble(error, access.spec.url, "")
    except (ValueError, OSError) as error:
        return Problem("ApplianceInvalid", f"spec of the appliance: {error}")


async def is_there(ctx: VCenterContext, access: VMAConnection, path: str) -> bool | Problem:
    """Return whether vCenter knows a VM at a path, whatever its lists say."""
    try:
        async with opened(ctx, access) as client:
            return await _absence(client, access, path) is None
    except VMAError as error:
        return decide_trouble(error, access.spec.url, path)
    except (ValueError, OSError) as error:
        return Problem("ApplianceInvalid", f"spec of the appliance: {error}")


async def _ask(
    client: Appliance, access: VMAConnection, wanted: VMQuery, listing: DatacenterInventory | None
) -> FoundVM | Problem:
    spec = wanted.spec
    try:
        vm, everything = await _find(client, access, spec, listing)
    except VMARefused as error:
        return await _refused(client, error, spec.path)
    if vm is not None and is_the_one(wanted, vm):
        return check_disks(vm) or FoundVM(vm, disks_of(vm), await _cbt(client, access, spec))
    if everything is None:
        try:
            everything = await _list(client, access, spec)
        except VMARefused as error:
            return await _refused(client, error, spec.path)
    problem = decide_missing(wanted, vm, everything.vms)
    return problem if vm is not None else await _confirmed(client, access, spec, problem)


async def _find(
    client: Appliance, access: VMAConnection, spec: ProtectedVMSpec, listing: DatacenterInventory | None
) -> tuple[InventoryVM | None, Inventory | None]:
    """Return the VM at the path, and all VMs if they had to be asked for.

    The filter keeps the answer small; what it does with odd names is not known, so a miss is asked again.
    """
    if listing is not None:
        return find_vm(listing.inventory, spec.path), listing.inventory
    vm = find_vm(await _list(client, access, spec, last_path_element(spec.path)), spec.path)
    if vm is not None:
        return vm, None
    everything = await _list(client, access, spec)
    return find_vm(everything, spec.path), everything


async def _list(client: Appliance, access: VMAConnection, spec: ProtectedVMSpec, name_filter: str = "") -> Inventory:
    return await client.discover(access.credentials, access.spec.vcenter.host, datacenter_of(spec), name_filter)


def is_the_one(wanted: VMQuery, vm: InventoryVM) -> bool:
    """Return whether the VM at the path has `spec.uuid`; a VM without a UUID counts as the one."""
    uuid = wanted.spec.uuid
    return uuid is None or bios_uuid(vm) in (None, uuid.lower())


def decide_missing(wanted: VMQuery, there: InventoryVM | None, vms: Sequence[InventoryVM]) -> Problem:
    """Decide about a VM that is not at its path. `there`: the one that is; `vms`: all of the datacenter."""
    same = [vm for vm in vms if wanted.uuid and bios_uuid(vm) == wanted.uuid and vm is not there]
    if len(same) == 1:
        where = f"vCenter has the VM with BIOS UUID {wanted.uuid} at {same[0].path!r} now"
        if wanted.followed:
            return Moved("VMMoved", f"{where}: discovery is about to change spec.path", Meaning.WAIT, same[0].path)
        return Moved("VMMoved", f"{where}: change spec.path", Meaning.FINAL, same[0].path)
    return decide_gone(wanted, there, same)


def decide_gone(wanted: VMQuery, there: InventoryVM | None, same: Sequence[InventoryVM]) -> Problem:
    """Return the problem of a VM that is nowhere. `same`: other VMs that have its UUID."""
    spec = wanted.spec
    clones = f"; of the VMs with that UUID ({len(same)}) none is known to be it" if same else ""
    if there is not None:
        text = f"the VM at {spec.path!r} has BIOS UUID {bios_uuid(there)}, not {wanted.uuid}"
        return Problem("VMReplaced", f"{text}: another VM is in its place{clones}", Meaning.FINAL)
    text = f"in datacenter {datacenter_of(spec)!r} there is no VM at {spec.path!r}"
    if wanted.uuid:
        return Problem("VMVanished", f"{text} any more, nor one with BIOS UUID {wanted.uuid}{clones}", Meaning.FINAL)
    return Problem("VMNotFound", text, Meaning.FINAL)


async def _confirmed(client: Appliance, access: VMAConnection, spec: ProtectedVMSpec, problem: Problem) -> Problem:
    """Ask vCenter whether it knows a VM at the path, since a list may be incomplete; return the problem."""
    where = f"vCenter {access.spec.vcenter.host}: {problem.message}"
    try:
        words = await _absence(client, access, spec.path)
    except VMAError as error:
        doubt = decide_trouble(error, access.spec.url, spec.path)
        return replace(doubt, message=f"{where}; querying that VM alone failed: {doubt.message}")
    if words is None:
        text = f"{where}, but vCenter knows one there (appliance {access.spec.url})"
        return Problem("ApplianceError", text, Meaning.RETRY)
    return replace(problem, message=f"{where}: {words}")


async def _absence(client: Appliance, access: VMAConnection, path: str) -> str | None:
    """Return the words in which vCenter says that it knows no VM at a path, None if it knows one.

    Raises VMAError if it says neither. The question for a VM's CBT is the one that vCenter answers for a path itself.
    """
    try:
        await client.cbt_status(access.credentials, access.spec.vcenter.host, path)
    except VMARefused as error:
        if reason_of_refusal(error.text, path) is VMARefusal.VM_NOT_FOUND:
            return error.text
        raise
    return None


async def _refused(client: Appliance, error: VMARefused, vm_path: str) -> Problem:
    """Return the words of vCenter, unless the appliance itself is what fails."""
    try:
        await client.health()
    except VMAError as sick:
        return Problem("ApplianceError", f"{error}; its health: {sick}", Meaning.RETRY)
    return decide_refusal(error, vm_path)


def decide_trouble(error: VMAError, url: str, vm_path: str) -> Problem:
    """Return what it means that a call for a VM (empty: for all of them) gave no answer. `url`: of the appliance."""
    match error:
        case VMARefused():
            return decide_refusal(error, vm_path)
        case VMAUnreachable():
            return Problem("ApplianceUnreachable", str(error), Meaning.RETRY)
        case _:
            return Problem("ApplianceError", f"{error} (appliance {url})", Meaning.RETRY)


def decide_refusal(error: VMARefused, vm_path: str) -> Problem:
    """Return what an error means that the appliance answered for a VM at `vm_path` (empty: for all of them)."""
    match reason_of_refusal(error.text, vm_path):
        case None:
            # Not vCenter's words: the appliance's own trouble, which may pass.
            return Problem("ApplianceError", str(error), Meaning.RETRY)
        case VMARefusal.VCENTER_UNREACHABLE:
            # It may come back: only the start's deadline ends the wait.
            return Problem("VCenterUnreachable", f"the appliance can't reach vCenter: {error.text}", Meaning.WAIT)
        case _:
            return Problem("VCenterRefused", f"vCenter: {error.text}", Meaning.FINAL)


async def _cbt(client: Appliance, access: VMAConnection, spec: ProtectedVMSpec) -> bool | None:
    try:
        status = await client.cbt_status(access.credentials, access.spec.vcenter.host, spec.path)
    except VMAError:
        return None  # shown only; the worker asks again
    return status.enabled


def check_disks(vm: InventoryVM) -> Problem | None:
    """Return why the VM can't be backed up. Raises VMAGarbage for a bad key."""
    if not vm.disks:
        return Problem("NoDisks", "the VM has no disks", Meaning.FINAL)
    if len(vm.disks) > MAX_DISKS:
        return Problem("TooManyDisks", f"{len(vm.disks)} disks; at most {MAX_DISKS}", Meaning.FINAL)
    keys = {device_key(disk, index) for index, disk in enumerate(vm.disks)}
    if len(keys) != len(vm.disks):
        return Problem("ApplianceError", "discover: two disks have the same key", Meaning.RETRY)
    return None


def disks_of(vm: InventoryVM) -> tuple[VMDisk, ...]:
    """Return the VM's disks by position, with the device keys that an NBD target is given for. Raises VMAGarbage."""
    return tuple(_disk(index, disk) for index, disk in enumerate(vm.disks))


def _disk(index: int, disk: InventoryDisk) -> VMDisk:
    return VMDisk(
        index=index,
        key=device_key(disk, index),
        label=disk.label[:1024],
        virtual_size=min(disk.capacity_bytes, MAX_INT),
        vmdk_path=disk.vmdk_path[:1024],
        datastore=disk.datastore[:1024],
        provisioning_type=disk.provisioning_type[:256],
    )
