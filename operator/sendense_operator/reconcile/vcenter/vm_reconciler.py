"""ProtectedVM: what vCenter says of the VM, looked up at intervals and before each backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, ProtectedVMStatus
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import APPLIANCE, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.appliance_limiter import AT_A_TIME
from sendense_operator.reconcile.state.context import ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, labels_of, ready_condition
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.recent import count_up
from sendense_operator.reconcile.state.vm_records import FoundVM, VMLookup
from sendense_operator.reconcile.vcenter.appliance_reconciler import was_ready
from sendense_operator.reconcile.vcenter.shared_discovery import expected_in, listing_for
from sendense_operator.reconcile.vcenter.vm_lookup import Moved, VMQuery, decide_gone, look_up
from sendense_operator.reconcile.vcenter.vm_status import GONE, next_vm_status
from sendense_operator.reconcile.vcenter.vma_connection import read_connection

_MAX_PAUSE_S: Final = 300.0
"""Seconds between two lookups of a VM that could not be looked up."""
_AWAY: Final = frozenset({"ApplianceUnreachable", "ApplianceError"})
"""Reasons of an appliance's Ready with which it is not asked for VMs: its health is asked again and again."""


@dataclass(frozen=True)
class Unasked(Problem):
    """The appliance was not asked: it is away, or others are served first. Who wants to know is called in time."""


async def reconcile_vm(ctx: VCenterContext, namespace: str, name: str) -> float | None:
    """Keep a ProtectedVM's status fresh; seconds until the next check."""
    vm = await find(ctx.cluster, PROTECTED_VM, namespace, name)
    if vm is None or is_deleting(vm):
        return None
    spec = ProtectedVMSpec.model_validate(vm["spec"])
    uid = vm["metadata"]["uid"]
    known = ctx.vcenter_hints.lookups.get(uid)
    interval = float(spec.discovery_interval_seconds)
    listing = listing_for(ctx, namespace, spec)
    news = listing is not None and (known is None or known.time < listing.time)
    if not news and (rest := await _not_due(ctx, vm, spec, known)) is not None:
        return rest
    since = max(ctx.monotonic() - interval, _not_before(ctx, known))
    key = Key(Work.VM, namespace, name)
    result, asked = await _looked_up(ctx, vm, since=max(since, listing.time) if listing and news else since, key=key)
    if isinstance(result, Unasked):
        return min(interval, _MAX_PAUSE_S)
    if isinstance(result, FoundVM):
        ctx.vcenter_hints.failures.pop(uid)
        return max(interval - (ctx.monotonic() - asked), 1.0)
    tries = count_up(ctx.vcenter_hints.failures, uid)
    # vCenter counts failed logins: what it refused is not asked again soon.
    base = 30.0 if result.meaning is Meaning.FINAL else ctx.settings.retry_seconds
    return float(min(base * 2 ** min(tries - 1, 10), interval, _MAX_PAUSE_S))


async def _not_due(ctx: ReconcileContext, vm: Obj, spec: ProtectedVMSpec, known: VMLookup | None) -> float | None:
    """Return seconds until the VM has to be asked for by itself; None when it has to be now."""
    ready = ready_condition(vm)
    if ready is None or (ready["status"] != "True" and ready["reason"] not in GONE):
        return None
    if known is None and (rest := _still_fresh(ctx, vm, float(spec.discovery_interval_seconds))) is not None:
        return rest
    appliance = await find(ctx.cluster, APPLIANCE, vm["metadata"]["namespace"], spec.appliance_ref.name)
    return expected_in(ctx, appliance, spec) if appliance is not None else None


def _still_fresh(ctx: ReconcileContext, vm: Obj, interval: float) -> float | None:
    """Return seconds until the VM is due, by its status: a restarted controller does not ask about all VMs at once."""
    asked = parse_time((vm.get("status") or {}).get("lastDiscoveryTime"))
    if asked is None:
        return None
    rest = interval - abs((ctx.now() - asked).total_seconds())
    return rest if rest > 0 else None


def _not_before(ctx: ReconcileContext, known: VMLookup | None) -> float:
    """Return since when (monotonic seconds) an answer counts: a failed lookup is repeated before the interval."""
    if known is not None and isinstance(known.result, Problem):
        # Not for each event, though: our own status write is one.
        pause = 20.0 if known.result.meaning is Meaning.FINAL else ctx.settings.retry_seconds / 2
        return ctx.monotonic() - pause
    return float("-inf")


async def discovered(ctx: VCenterContext, vm: Obj, *, since: float, key: Key) -> FoundVM | Problem:
    """Return what vCenter says of the VM, no older than `since` (monotonic). Written to its status when asked anew.

    `key`: who wants to know, to be checked again when it is its turn.
    """
    result, _ = await _looked_up(ctx, vm, since=since, key=key)
    return result


async def _looked_up(ctx: VCenterContext, vm: Obj, *, since: float, key: Key) -> tuple[FoundVM | Problem, float]:
    """Return what `discovered` does, and when that was found out (monotonic)."""
    meta = vm["metadata"]
    spec = ProtectedVMSpec.model_validate(vm["spec"])
    name = spec.appliance_ref.name
    appliance = await find(ctx.cluster, APPLIANCE, meta["namespace"], name)
    if appliance is None:
        problem = Problem("ApplianceNotFound", f"there is no VMwareAppliance {name}")
        await _write(ctx, vm, problem)
        return problem, ctx.monotonic()
    known = ctx.vcenter_hints.lookups.get(meta["uid"])
    if known is not None and known.specs == _specs(vm, appliance) and known.time >= since:
        if isinstance(known.result, FoundVM) and not was_ready(vm):
            await _write(ctx, vm, known.result)  # it could not be written then
        return known.result, known.time
    away = decide_away(appliance)
    if away is not None:
        await _write(ctx, vm, away)
        return away, ctx.monotonic()
    with ctx.turns.turn(appliance["metadata"]["uid"], meta["uid"], key) as granted:
        if granted:
            return await _ask(ctx, vm, spec, appliance, since)
    text = f"appliance {name} answers for {AT_A_TIME} VMs at a time; others are being looked up"
    return Unasked("WaitingForAppliance", text), ctx.monotonic()


def decide_away(appliance: Obj) -> Unasked | None:
    """Return why an appliance is not called: its status says that it is away, and each VM would time out."""
    ready = ready_condition(appliance)
    if ready is None or ready["status"] == "True" or ready["reason"] not in _AWAY:
        return None
    text = f"appliance {appliance['metadata']['name']}: {ready.get('message', '')}"
    return Unasked(ready["reason"], text, Meaning.RETRY)


def _specs(vm: Obj, appliance: Obj) -> tuple[int, str, int]:
    """See `VMLookup.specs`."""
    meta = appliance["metadata"]
    return int(vm["metadata"].get("generation", 0)), str(meta["uid"]), int(meta.get("generation", 0))


async def _ask(
    ctx: VCenterContext, vm: Obj, spec: ProtectedVMSpec, appliance: Obj, since: float
) -> tuple[FoundVM | Problem, float]:
    meta, specs = vm["metadata"], _specs(vm, appliance)
    appliance_spec = VMwareApplianceSpec.model_validate(appliance["spec"])
    access = await read_connection(ctx, meta["namespace"], appliance_spec)
    if isinstance(access, Problem):
        await _write(ctx, vm, access)
        return access, ctx.monotonic()
    listing = listing_for(ctx, meta["namespace"], spec)
    if listing is not None and (listing.specs != specs[1:] or listing.time < since):
        listing = None
    time = ctx.monotonic() if listing is None else listing.time
    wanted = wanted_of(vm, appliance_spec)
    result = await look_up(ctx, access, wanted, listing)
    if isinstance(result, Moved):
        result = await _followed(ctx, vm, wanted, result)
    ctx.vcenter_hints.lookups.put(meta["uid"], VMLookup(time, specs, result))
    asked = ctx.now() - timedelta(seconds=ctx.monotonic() - time)
    await _write(ctx, vm, result, asked, shared=listing is not None)
    return result, time


def wanted_of(vm: Obj, appliance: VMwareApplianceSpec) -> VMQuery:
    """Return what is known of the VM."""
    meta, status = vm["metadata"], vm.get("status") or {}
    spec = ProtectedVMSpec.model_validate(vm["spec"])
    # What was found for another spec was another VM.
    before = status.get("uuid") if status.get("observedGeneration") == meta.get("generation") else None
    uuid = spec.uuid or before
    made = labels_of(vm).get(names.LABEL_DISCOVERED_BY) == spec.appliance_ref.name
    follows = appliance.discovery is not None and not appliance.discovery.dry_run
    return VMQuery(spec, uuid.lower() if uuid else None, made and follows)


async def _followed(ctx: VCenterContext, vm: Obj, wanted: VMQuery, moved: Moved) -> Problem:
    """Decide about a VM that moved: it is gone if another object has that path, else discovery is notified."""
    meta, appliance = vm["metadata"], wanted.spec.appliance_ref.name
    others = await ctx.cluster.list_objects(
        PROTECTED_VM, meta["namespace"], fields=f"spec.applianceRef.name={appliance}"
    )
    if any(other["spec"]["path"] == moved.path for other in others):
        return decide_gone(wanted, None, [])
    if wanted.followed:
        ctx.vcenter_hints.request_discovery(ObjectKey(meta["namespace"], appliance))
        ctx.again(Key(Work.DISCOVERY, meta["namespace"], appliance))
    return moved


async def _write(
    ctx: ReconcileContext, vm: Obj, result: FoundVM | Problem, asked: datetime | None = None, *, shared: bool = False
) -> None:
    # Read again: the one at hand may be older than what is written there by now.
    meta = vm["metadata"]
    fresh = await find(ctx.cluster, PROTECTED_VM, meta["namespace"], meta["name"])
    if fresh is None or fresh["metadata"]["uid"] != meta["uid"]:
        return
    old = ProtectedVMStatus.model_validate(fresh.get("status") or {})
    status = next_vm_status(old, result, generation=meta.get("generation"), now=ctx.now(), asked=asked, shared=shared)
    if await write_status(ctx.cluster, PROTECTED_VM, fresh, status) and isinstance(result, Problem):
        was = conditions.of_status(old, conditions.READY)
        if was is None or was.reason != result.reason:
            await ctx.events.post(fresh, "Warning", result.reason, result.message)
