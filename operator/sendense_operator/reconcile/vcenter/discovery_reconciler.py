"""Discovery: asks vCenter for all VMs of some datacenters, and makes and follows ProtectedVMs for them.

A run asks for one datacenter a check, then does a few steps of its plan a check, so that neither the appliance nor the
API server sees a burst. What it heard is kept for the single VMs' own check-ups (`sharing`).
"""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.discovery import DiscoverySpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import APPLIANCE, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import ApplianceContext, ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.discovery_records import (
    APPLIES_TO_ALL,
    DiscoveredVM,
    DiscoveryRun,
    KnownVM,
    Step,
)
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.state.recent import count_up
from sendense_operator.reconcile.state.vm_records import DatacenterInventory, DatacenterKey
from sendense_operator.reconcile.vcenter.discovery_plan import decide_plan, known_of
from sendense_operator.reconcile.vcenter.discovery_rules import build_labeler, build_rule
from sendense_operator.reconcile.vcenter.discovery_run import DISCOVERED, count_objects
from sendense_operator.reconcile.vcenter.discovery_steps import do_step
from sendense_operator.reconcile.vcenter.vm_lookup import list_datacenter
from sendense_operator.reconcile.vcenter.vma_connection import read_connection
from sendense_operator.vma.messages import Inventory

STEPS: Final = 10
"""Objects that are made or changed in one check."""
PAUSE_S: Final = 1.0
"""Between two such looks."""
_LOOKS_TOLD: Final = 10
"""Such looks between two writes of the appliance's status."""
_RETRY_S: Final = 30.0
_MOVED_PAUSE_S: Final = 30.0
"""Between two runs of which the later one is asked for by a VM that moved."""


async def reconcile_discovery(ctx: ApplianceContext, namespace: str, name: str) -> float | None:
    """Go on with the appliance's discovery, or begin one when it is time; seconds until the next check."""
    obj = await find(ctx.cluster, APPLIANCE, namespace, name)
    if obj is None or is_deleting(obj):
        return None
    spec = VMwareApplianceSpec.model_validate(obj["spec"])
    here = ObjectKey.of(obj)
    if spec.discovery is None:
        ctx.appliance_hints.runs.pop(here)
        return None
    rest = _not_due(ctx, obj, spec.discovery)
    if rest is not None:
        return rest
    run = ctx.appliance_hints.runs.get(here)
    if run is None or run.ended is not None or run.specs != specs_of(obj):
        ctx.vcenter_hints.withdraw_discovery_request(here)
        run = DiscoveryRun(specs_of(obj), ctx.monotonic(), ctx.now())
        ctx.appliance_hints.runs.put(here, run)
    if await _ask_one(ctx, obj, spec, spec.discovery, run):
        return 0.0
    return await _go_on(ctx, obj, spec, spec.discovery, run)


def specs_of(appliance: Obj) -> tuple[str, int]:
    """Return the UID and generation: what was heard for another spec does not count."""
    meta = appliance["metadata"]
    return str(meta["uid"]), int(meta.get("generation", 0))


def _not_due(ctx: ApplianceContext, obj: Obj, rules: DiscoverySpec) -> float | None:
    """Return the seconds until a run has to begin; None while one goes on, or when it is time."""
    here, interval = ObjectKey.of(obj), float(rules.interval_seconds)
    run = ctx.appliance_hints.runs.get(here)
    if run is None:
        return _done_before(ctx, obj, interval)
    if run.specs != specs_of(obj):
        return None
    if run.ended is None:
        rest = run.resume - ctx.monotonic()
        return rest if rest > 0 else None
    pause = interval
    if run.failed:
        tries = ctx.appliance_hints.failed_runs.get(here) or 1
        pause = min(_RETRY_S * 2 ** min(tries - 1, 10), interval)
    elif ctx.vcenter_hints.is_discovery_requested(here):
        pause = min(_MOVED_PAUSE_S, interval)
    rest = run.ended + pause - ctx.monotonic()
    return rest if rest > 0 else None


def _done_before(ctx: ReconcileContext, obj: Obj, interval: float) -> float | None:
    """Return seconds until the next discovery by the status alone: a restarted controller does not begin anew."""
    status = obj.get("status") or {}
    reported, last = status.get("discovery") or {}, conditions.find(status.get("conditions") or [], DISCOVERED)
    when = parse_time(reported.get("lastTime"))
    if when is None or last is None or last["status"] != "True":
        return None
    if last.get("observedGeneration") != obj["metadata"].get("generation"):
        return None
    rest = interval - abs((ctx.now() - when).total_seconds())
    return rest if rest > 0 else None


async def _ask_one(
    ctx: VCenterContext, obj: Obj, spec: VMwareApplianceSpec, rules: DiscoverySpec, run: DiscoveryRun
) -> bool:
    """List one datacenter that this run has not asked for yet; False when there is none left."""
    meta = obj["metadata"]
    left = [name for name in rules.datacenters if name not in run.problems and not _list_of(ctx, obj, name, run)]
    if not left or run.blocked:
        return False
    access = await read_connection(ctx, meta["namespace"], spec)
    if isinstance(access, Problem):
        run.problems[""] = access
        return False
    asked = ctx.monotonic()
    result = await list_datacenter(ctx, access, left[0])
    if isinstance(result, Problem):
        run.problems["" if result.reason in APPLIES_TO_ALL else left[0]] = result
    else:
        listing = DatacenterInventory(asked, run.specs, result)
        ctx.vcenter_hints.listings.put(DatacenterKey(ObjectKey.of(obj), left[0]), listing)
    return True


def _list_of(ctx: VCenterContext, obj: Obj, datacenter: str, run: DiscoveryRun) -> Inventory | None:
    listing = ctx.vcenter_hints.listings.get(DatacenterKey(ObjectKey.of(obj), datacenter))
    mine = listing is not None and listing.specs == run.specs and listing.time >= run.since
    return listing.inventory if listing is not None and mine else None


async def _go_on(
    ctx: ApplianceContext, obj: Obj, spec: VMwareApplianceSpec, rules: DiscoverySpec, run: DiscoveryRun
) -> float:
    """Do the next steps of the run's plan; end it when a new plan has none."""
    if not run.steps and not run.blocked:
        await _plan(ctx, obj, spec, rules, run)
    for _ in range(min(STEPS, len(run.steps))):
        if run.blocked or not await do_step(ctx, obj, run):
            break
    if run.blocked or not run.planned:
        return await _end(ctx, obj, rules, run)
    run.resume = ctx.monotonic() + PAUSE_S
    if run.looks % _LOOKS_TOLD == 0:
        ctx.again(_appliance_key(obj))
    run.looks += 1
    return PAUSE_S


async def _end(ctx: ApplianceContext, obj: Obj, rules: DiscoverySpec, run: DiscoveryRun) -> float:
    run.ended = ctx.monotonic()
    if run.failed:
        count_up(ctx.appliance_hints.failed_runs, ObjectKey.of(obj))
    else:
        ctx.appliance_hints.failed_runs.pop(ObjectKey.of(obj))
    _wake_vms(ctx, rules, run)
    ctx.again(_appliance_key(obj))
    if run.created:
        await ctx.events.post(obj, "Normal", "Discovered", f"{count_objects(run.created)} made")
    return _not_due(ctx, obj, rules) or PAUSE_S


def _appliance_key(obj: Obj) -> Key:
    return Key.of(Work.APPLIANCE, obj)


async def _plan(
    ctx: VCenterContext, obj: Obj, spec: VMwareApplianceSpec, rules: DiscoverySpec, run: DiscoveryRun
) -> None:
    """Compare what vCenter has with the ProtectedVMs that there are now."""
    meta = obj["metadata"]
    listed = {name: _list_of(ctx, obj, name, run) for name in rules.datacenters}
    inventories = {name: inventory for name, inventory in listed.items() if inventory is not None}
    there = await ctx.cluster.list_objects(PROTECTED_VM, meta["namespace"])
    beside = await _beside(ctx, meta["namespace"], spec.vcenter.host)
    known = [known_of(vm, meta["name"]) for vm in there if vm["spec"]["applianceRef"]["name"] in beside]
    run.plan = decide_plan(
        inventories,
        known,
        build_rule(rules),
        vcenter=spec.vcenter.host.lower(),
        taken={vm["metadata"]["name"] for vm in there},
        there=run.there,
        failed=run.unlisted,
        labeler=build_labeler(rules.labels),
    )
    todo: list[Step] = [] if rules.dry_run else [*run.plan.moves, *run.plan.creations, *run.plan.relabels]
    run.steps.extend(step for step in todo if not run.is_off(step))
    run.planned = bool(run.steps)


async def _beside(ctx: ReconcileContext, namespace: str, vcenter: str) -> set[str]:
    """Return the names of the appliances of a vCenter: a VM that one of them has needs no second object."""
    appliances = await ctx.cluster.list_objects(APPLIANCE, namespace)
    return {a["metadata"]["name"] for a in appliances if a["spec"]["vcenter"]["host"].lower() == vcenter.lower()}


def _wake_vms(ctx: ReconcileContext, rules: DiscoverySpec, run: DiscoveryRun) -> None:
    """Let the single VMs take their part of the answer: the changed ones soon, the others in the time there is."""
    if run.plan is None:
        return
    lost = (*run.plan.vanished, *run.plan.kept)
    soon: list[KnownVM] = [*lost, *(one for one, seen in run.plan.present if is_changed(one, seen))]
    later = [one for one, seen in run.plan.present if not is_changed(one, seen)]
    for number, one in enumerate(soon):
        ctx.again(_key(one), PAUSE_S * number / STEPS)
    for number, one in enumerate(later):
        ctx.again(_key(one), rules.interval_seconds / 2 * (number + 1) / len(later))


def _key(known: KnownVM) -> Key:
    return Key.of(Work.VM, known.obj)


def is_changed(known: KnownVM, seen: DiscoveredVM) -> bool:
    """Return whether the object says something else than vCenter does."""
    status, vm = known.obj.get("status") or {}, seen.vm
    reported = (
        known.spec.path,
        status.get("vmName", ""),
        status.get("uuid", ""),
        status.get("powerState", ""),
        [disk.get("virtualSize") for disk in status.get("disks") or []],
        status.get("vanishedTime"),
    )
    return reported != (
        vm.path,
        vm.name[:1024],
        vm.id[:256],
        vm.power_state[:256],
        [disk.capacity_bytes for disk in vm.disks],
        None,
    )
