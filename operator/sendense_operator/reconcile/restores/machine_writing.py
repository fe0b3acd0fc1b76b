"""The VirtualMachine of a Restore in the cluster.

It is made only when all disks were read back, so that nothing that looks finished stays behind a failure. Before, a dry
run shows whether KubeVirt would accept it. It belongs to the Restore until that is Completed.
"""

from __future__ import annotations

from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError, NotFoundError
from sendense_operator.cluster.kinds import STORAGE_CLASS, VIRTUAL_MACHINE
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_list
from sendense_operator.reconcile.restores.machine_object import build_machine
from sendense_operator.reconcile.restores.new_claims import release
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_owned_by
from sendense_operator.reconcile.state.problem import Meaning, Problem


async def check_machine(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    """Return what would keep the VirtualMachine from being made, before anything is written. Raises ClusterError."""
    machine = restore.status.virtual_machine
    if machine is None:
        return None
    return await _missing_classes(ctx, restore) or await _create(ctx, restore, machine, dry_run=True)


async def make_machine(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    """Create the VirtualMachine unless it exists; return what keeps it from being made. Raises ClusterError."""
    machine = restore.status.virtual_machine
    return await _create(ctx, restore, machine, dry_run=False) if machine is not None else None


async def _missing_classes(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    wanted = {disk.storage_class_name for disk in restore.status.disks if disk.storage_class_name is not None}
    try:
        missing = [name for name in sorted(wanted) if await find(ctx.cluster, STORAGE_CLASS, None, name) is None]
    except ForbiddenError:
        return None  # then the claim says so
    if not missing:
        return None
    text = f"there is no StorageClass {human_list(missing)}, which spec.target.virtualMachine names"
    return Problem("StorageClassNotFound", text)


async def _create(
    ctx: ReconcileContext, restore: ObservedRestore, machine: PlannedMachine, *, dry_run: bool
) -> Problem | None:
    try:
        await ctx.cluster.create(VIRTUAL_MACHINE, build_machine(restore, machine), dry_run=dry_run)
    except AlreadyExistsError:
        return await _taken(ctx, restore, machine)
    except NotFoundError:
        served = f"the cluster does not serve {VIRTUAL_MACHINE.api_version}"
        text = f"{served}: install KubeVirt, or choose another target in a new Restore"
        return Problem("KubeVirtNotFound", text)
    except ForbiddenError as error:
        reason = "NamespaceTerminating" if error.terminating else "VirtualMachineForbidden"
        return Problem(reason, f"the operator may not create VirtualMachine {machine.name}: {error}")
    except InvalidError as error:
        return Problem("VirtualMachineRejected", f"KubeVirt does not accept VirtualMachine {machine.name}: {error}")
    return None


async def _taken(ctx: ReconcileContext, restore: ObservedRestore, machine: PlannedMachine) -> Problem | None:
    found = await find(ctx.cluster, VIRTUAL_MACHINE, restore.namespace, machine.name)
    if found is not None and is_owned_by(found, restore.obj):
        return None  # made before the controller was stopped
    text = (
        f"VirtualMachine {machine.name} exists already and was not made by this Restore: name another one in "
        "spec.target.virtualMachine.name of a new Restore, or delete it"
    )
    return Problem("VirtualMachineExists", text, Meaning.FINAL)


async def release_machine(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Let the VirtualMachine of a Completed Restore stay when it is deleted. Raises ClusterError."""
    machine = await _own_machine(ctx, restore)
    if machine is not None:
        await release(ctx, VIRTUAL_MACHINE, machine, restore)


async def discard_machine(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Delete the VirtualMachine of a Restore that does not become Completed after all. Raises ClusterError."""
    machine = await _own_machine(ctx, restore)
    if machine is not None:
        meta = machine["metadata"]
        await ctx.cluster.delete(VIRTUAL_MACHINE, restore.namespace, meta["name"], uid=meta["uid"])


async def _own_machine(ctx: ReconcileContext, restore: ObservedRestore) -> Obj | None:
    planned = restore.status.virtual_machine
    if planned is None:
        return None
    try:
        found = await find(ctx.cluster, VIRTUAL_MACHINE, restore.namespace, planned.name)
    except ForbiddenError:
        return None  # who may not read it has not made it
    return found if found is not None and is_owned_by(found, restore.obj) else None
