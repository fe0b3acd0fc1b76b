"""ProtectedVM: what vCenter says of the VM, looked up at intervals and before each backup."""

from __future__ import annotations

import asyncio
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, ProtectedVMStatus
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.client import Obj, find
from sendense_operator.cluster.kinds import APPLIANCE, PROTECTED_VM
from sendense_operator.cluster.status import write_status
from sendense_operator.reconcile.access import read_access
from sendense_operator.reconcile.context import Context
from sendense_operator.reconcile.discovery import discover
from sendense_operator.reconcile.facts import Discovery, Found
from sendense_operator.reconcile.objects import is_deleting, ready_condition
from sendense_operator.reconcile.problems import Meaning, Problem
from sendense_operator.reconcile.units import human_bytes, parse_time, whole_seconds

_MAX_PAUSE_S: Final = 300.0
"""Between two looks at a VM that could not be looked up."""


async def reconcile_vm(ctx: Context, namespace: str, name: str) -> float | None:
    """Keep a ProtectedVM's status fresh; seconds until the next look."""
    vm = await find(ctx.cluster, PROTECTED_VM, namespace, name)
    if vm is None or is_deleting(vm):
        return None
    spec = ProtectedVMSpec.model_validate(vm["spec"])
    uid = vm["metadata"]["uid"]
    known = ctx.memory.discoveries.get(uid)
    interval = float(spec.discovery_interval_seconds)
    if known is None and (rest := _still_fresh(ctx, vm, interval)) is not None:
        return rest
    since = ctx.monotonic() - interval
    result = await discovered(ctx, vm, since=max(since, _not_before(ctx, known)))
    if isinstance(result, Found):
        ctx.memory.tries.pop(uid)
        newest = ctx.memory.discoveries.get(uid)
        age = ctx.monotonic() - newest.time if newest else 0.0
        return max(interval - age, 1.0)
    tries = (ctx.memory.tries.get(uid) or 0) + 1
    ctx.memory.tries.put(uid, tries)
    # vCenter counts failed logins: what it refused is not asked again soon.
    base = 30.0 if result.meaning is Meaning.FINAL else ctx.settings.retry_seconds
    return float(min(base * 2 ** min(tries - 1, 10), interval, _MAX_PAUSE_S))


def _still_fresh(ctx: Context, vm: Obj, interval: float) -> float | None:
    """Seconds until the VM is due, by its status: a restarted controller does not ask about all VMs at once."""
    ready = ready_condition(vm)
    asked = parse_time((vm.get("status") or {}).get("lastDiscoveryTime"))
    if ready is None or ready["status"] != "True" or asked is None:
        return None
    rest = interval - abs((ctx.now() - asked).total_seconds())
    return rest if rest > 0 else None


def _not_before(ctx: Context, known: Discovery | None) -> float:
    """A failed discovery is done again whenever the queue comes back to it, not after the whole interval."""
    if known is not None and isinstance(known.result, Problem):
        # Not for each event, though: our own status write is one.
        pause = 20.0 if known.result.meaning is Meaning.FINAL else ctx.settings.retry_seconds / 2
        return ctx.monotonic() - pause
    return float("-inf")


async def discovered(ctx: Context, vm: Obj, *, since: float) -> Found | Problem:
    """What vCenter says of the VM, no older than `since` (monotonic). Written to its status when asked anew."""
    meta = vm["metadata"]
    lock = ctx.vm_locks.setdefault(meta["uid"], asyncio.Lock())
    async with lock:
        spec = ProtectedVMSpec.model_validate(vm["spec"])
        name = spec.appliance_ref.name
        appliance = await find(ctx.cluster, APPLIANCE, meta["namespace"], name)
        if appliance is None:
            problem = Problem("ApplianceNotFound", f"there is no VMwareAppliance {name}")
            await _write(ctx, vm, problem, asked=False)
            return problem
        specs = (
            int(meta.get("generation", 0)),
            str(appliance["metadata"]["uid"]),
            int(appliance["metadata"].get("generation", 0)),
        )
        known = ctx.memory.discoveries.get(meta["uid"])
        if known is not None and known.specs == specs and known.time >= since:
            return known.result
        appliance_spec = VMwareApplianceSpec.model_validate(appliance["spec"])
        access = await read_access(ctx, meta["namespace"], appliance_spec)
        started = ctx.monotonic()
        if isinstance(access, Problem):
            await _write(ctx, vm, access, asked=False)
            return access
        result = await discover(ctx, access, spec)
        ctx.memory.discoveries.put(meta["uid"], Discovery(started, specs, result))
        await _write(ctx, vm, result, asked=True)
        return result


async def _write(ctx: Context, vm: Obj, result: Found | Problem, *, asked: bool) -> None:
    # Read again: the one at hand may be older than what is written there by now.
    meta = vm["metadata"]
    fresh = await find(ctx.cluster, PROTECTED_VM, meta["namespace"], meta["name"])
    if fresh is None or fresh["metadata"]["uid"] != meta["uid"]:
        return
    old = ProtectedVMStatus.model_validate(fresh.get("status") or {})
    status = next_status(old, result, generation=meta.get("generation"), ctx=ctx, asked=asked)
    if await write_status(ctx.cluster, PROTECTED_VM, fresh, status) and isinstance(result, Problem):
        was = conditions.find([c.to_dict() for c in old.conditions], conditions.READY)
        if was is None or was["reason"] != result.reason:
            await ctx.events.post(fresh, "Warning", result.reason, result.message)


def next_status(
    old: ProtectedVMStatus, result: Found | Problem, *, generation: int | None, ctx: Context, asked: bool
) -> ProtectedVMStatus:
    """The status that tells of `result`. What was known of the VM stays when it can't be asked."""
    if isinstance(result, Problem):
        stuck = result.meaning is Meaning.FINAL
        make = conditions.stalled if stuck else conditions.reconciling
        state = make(result.reason, result.message)
        status = old.model_copy(deep=True)
    else:
        count = len(result.disks)
        total = sum(disk.capacity_bytes for disk in result.disks)
        size = human_bytes(total)
        state = conditions.ready("Discovered", f"{count} {'disk' if count == 1 else 'disks'}, {size}")
        status = ProtectedVMStatus(
            vm_name=result.vm.name[:1024],
            uuid=result.vm.id[:256] or None,
            power_state=result.vm.power_state[:256] or None,
            guest_os=result.vm.guest_os[:1024] or None,
            cbt_enabled=result.cbt_enabled,
            total_bytes=total,
            size=size,
            last_discovery_time=old.last_discovery_time,
            disks=list(result.disks),
        )
    now = ctx.now()
    if asked:
        status.last_discovery_time = whole_seconds(now)
    status.observed_generation = generation
    updated = conditions.update([c.to_dict() for c in old.conditions], state, generation=generation, now=now)
    status.conditions = [Condition.model_validate(condition) for condition in updated]
    return status
