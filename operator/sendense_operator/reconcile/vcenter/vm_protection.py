"""ProtectedVM: how recent its newest restore point is, from what is in memory of chains and policies."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.base import ConditionStatus
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import VMEntry, ruling_policies
from sendense_operator.reconcile.protection.vm_objectives import VMProtection, describe_protection
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting

UNSYNCED_S: Final = 1.0
_SOONEST_S: Final = 0.1
_ORDER: Final = {
    kind: place
    for place, kind in enumerate((conditions.READY, conditions.RECONCILING, conditions.STALLED, conditions.PROTECTED))
}
"""Of the conditions that come first."""


async def reconcile_protection(
    ctx: ReconcileContext, index: ProtectionIndex, namespace: str, name: str
) -> float | None:
    """Keep what a ProtectedVM's status says of its restore points; seconds until that is different by itself."""
    if not index.synced():
        return UNSYNCED_S  # else a VM would be called never backed up after each restart
    vm = await find(ctx.cluster, PROTECTED_VM, namespace, name)
    if vm is None or is_deleting(vm):
        return None
    now = ctx.now()
    old = ProtectedVMStatus.model_validate(vm.get("status") or {})
    found = describe_protection(
        name,
        ruling_policies(VMEntry.of(vm), index.policies.of(namespace)),
        index.chains.of_vm(namespace, name),
        vanished=old.vanished_time is not None,
        now=now,
    )
    status = with_protection(old, found, generation=vm["metadata"].get("generation"), now=now)
    # Lookups of the VM write the same status: what they wrote since must not be undone.
    if await write_status(ctx.cluster, PROTECTED_VM, vm, status, unchanged=True):
        await _report(ctx, vm, old, found)
    return None if found.changes is None else max((found.changes - now).total_seconds(), _SOONEST_S)


def with_protection(
    old: ProtectedVMStatus, found: VMProtection, *, generation: int | None, now: datetime
) -> ProtectedVMStatus:
    """Return the status with what was found; all else stays."""
    updated = conditions.with_aspect(
        conditions.dicts_of(old),
        conditions.PROTECTED,
        found.holds,
        found.reason,
        found.message,
        generation=generation,
        now=now,
    )
    # Where lookups of the VM leave it: else the two would write in turn.
    updated.sort(key=lambda condition: _ORDER.get(condition["type"], len(_ORDER)))
    status = old.model_copy()
    status.conditions = conditions.models_of(updated)
    status.latest_backup, status.latest_time = found.backup, found.time
    status.policy, status.next_time = found.policy, found.next_time
    return status


async def _report(ctx: ReconcileContext, vm: Obj, old: ProtectedVMStatus, found: VMProtection) -> None:
    """Post an Event when the VM begins to miss its objective, when the reason changes, and when it is over."""
    was = conditions.of_status(old, conditions.PROTECTED)
    missed = was is not None and was.status is ConditionStatus.FALSE
    if found.holds is False and not (was is not None and missed and was.reason == found.reason):
        await ctx.events.post(vm, "Warning", found.reason, found.message)
    elif found.holds and missed:
        await ctx.events.post(vm, "Normal", found.reason, found.message)
