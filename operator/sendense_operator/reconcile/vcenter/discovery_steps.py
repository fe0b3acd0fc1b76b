"""One step of a discovery's plan: a ProtectedVM is created, moved to where its VM is now, or gets other labels."""

from __future__ import annotations

from typing import Any

from sendense_operator.api.v1alpha1.names import LABEL_DISCOVERED_BY
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from sendense_operator.cluster.kinds import PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.context import ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.discovery_records import Creation, DiscoveredVM, DiscoveryRun, Move, Relabel
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.vcenter.discovery_labels import label_changes
from sendense_operator.reconcile.vcenter.discovery_plan import known_of
from sendense_operator.reconcile.vcenter.vm_lookup import is_there
from sendense_operator.reconcile.vcenter.vma_connection import read_connection


async def do_step(ctx: VCenterContext, obj: Obj, run: DiscoveryRun) -> bool:
    """Do one step; False when the others have to wait. Raises UnavailableError, and the step is still to be done."""
    step = run.steps[0]
    try:
        match step:
            case Creation():
                await ctx.cluster.create(PROTECTED_VM, build_vm(obj, step))
                run.created += 1
            case Move():
                if await _may_follow(ctx, obj, step, run):
                    await _move(ctx, step)
                    run.updated += 1
            case Relabel():
                if await _relabel(ctx, obj["metadata"]["name"], step):
                    run.relabelled.add(step.known.name)
                    run.updated += 1
    except (ConflictError, NotFoundError):
        # Somebody else was here: the next plan sees what is there now.
        run.steps.clear()
        return False
    except InvalidError as error:
        run.refused[step.seen.vm.path] = str(error)[:1024]
    except ForbiddenError as error:
        run.problems[""] = Problem("Forbidden", f"no ProtectedVM can be made or changed: {error}", Meaning.FINAL)
        return False
    run.steps.popleft()
    return True


def build_vm(appliance: Obj, creation: Creation) -> Obj:
    """Return the ProtectedVM of a discovered VM. Nobody owns it: it stays when the appliance goes."""
    seen, meta = creation.seen, appliance["metadata"]
    spec: dict[str, Any] = {"applianceRef": {"name": meta["name"]}, **_place(seen)}
    if seen.uuid:
        spec["uuid"] = seen.uuid
    metadata = label_changes({"metadata": {}}, creation.labels)
    metadata["labels"] = {**metadata.get("labels", {}), LABEL_DISCOVERED_BY: meta["name"]}
    return {"metadata": {**metadata, "namespace": meta["namespace"], "name": creation.name}, "spec": spec}


def _place(seen: DiscoveredVM) -> dict[str, str]:
    """Return the path, and the datacenter if the path does not contain it."""
    path = seen.vm.path
    reported = datacenter_of(ProtectedVMSpec.model_validate({"applianceRef": {"name": "any"}, "path": path}))
    return {"path": path, "datacenter": "" if reported == seen.datacenter else seen.datacenter}


async def _may_follow(ctx: VCenterContext, appliance: Obj, move: Move, run: DiscoveryRun) -> bool:
    """Return whether the VM is certain to have left its old path; else it is noted what is known.

    A list may leave the VM out and have a clone of it, whose disks must not get into the chain of the VM.
    """
    if run.is_off(move):
        return False
    if move.replaced:
        return True
    spec = VMwareApplianceSpec.model_validate(appliance["spec"])
    access = await read_connection(ctx, appliance["metadata"]["namespace"], spec)
    if isinstance(access, Problem):
        run.problems[""] = access
        return False
    there = await is_there(ctx, access, move.known.spec.path)
    if isinstance(there, Problem):
        run.doubts[move.known.name] = there
    elif there:
        run.there.add(move.known.name)
    return there is False


async def _move(ctx: ReconcileContext, move: Move) -> None:
    """Write where the VM is now, and its labels there. ConflictError when the object changed since it was read."""
    await _patch(ctx, move.known.obj, label_changes(move.known.obj, move.labels), {"spec": _place(move.seen)})


async def _relabel(ctx: ReconcileContext, appliance: str, step: Relabel) -> bool:
    """Write the labels; return False if that is no longer necessary. Raises ConflictError like `_move`.

    Reads the object again: a plan with thousands of steps takes minutes, in which the status of objects changes.
    """
    meta = step.known.obj["metadata"]
    obj = await ctx.cluster.get(PROTECTED_VM, meta["namespace"], meta["name"])
    now = known_of(obj, appliance)
    change = label_changes(obj, step.labels)
    if not now.made or now.spec.path != step.seen.vm.path or not change:
        return False
    await _patch(ctx, obj, change)
    return True


async def _patch(ctx: ReconcileContext, obj: Obj, metadata: Obj, rest: Obj | None = None) -> None:
    """Patch the object unless it changed since it was read; then raise ConflictError."""
    meta = obj["metadata"]
    patch = {**(rest or {}), "metadata": {**metadata, "resourceVersion": meta["resourceVersion"]}}
    await ctx.cluster.merge_patch(PROTECTED_VM, meta["namespace"], meta["name"], patch)
