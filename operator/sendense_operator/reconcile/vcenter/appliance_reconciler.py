"""VMwareAppliance: is it there, are its Secrets, and where does it have to call back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.discovery import DiscoverySpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec, VMwareApplianceStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import APPLIANCE, JOB, POD, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_worker_job, is_worker_pod
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import whole_seconds
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import ApplianceContext, ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.discovery_records import DiscoveryRun
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_finished, is_live, ready_condition
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.state.recent import count_up
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.state.unrouted_calls import describe_call
from sendense_operator.reconcile.vcenter.discovery_run import DISCOVERED, report_discovery
from sendense_operator.reconcile.vcenter.stuck_clients import describe_stuck, stuck_jobs
from sendense_operator.reconcile.vcenter.vma_connection import VMAConnection, opened, read_connection
from sendense_operator.vma.callback_keys import CallbackKeys
from sendense_operator.vma.callback_path import base_path, make_token
from sendense_operator.vma.errors import VMAError, VMAUnreachable
from sendense_operator.vma.messages import VMAHealth
from sendense_operator.vma.sightings import StrayCall

HEALTH_TIMEOUT_S: Final = 10.0
CALLBACKS: Final = "CallbacksArrive"
"""Condition, False while callbacks of this appliance's backups arrive where they do not belong."""
CONTACT_STEP_S: Final = 300.0
"""A healthy appliance's contact time is written that often, not with each check."""


@dataclass(frozen=True)
class Workers:
    """The workers that use an appliance."""

    active: int = 0
    """How many have not ended."""
    jobs: frozenset[str] = frozenset()
    """Job IDs of those that have not ended."""


@dataclass(frozen=True)
class UnroutedSummary:
    """What the gateways saw of an appliance's calls that reach no worker."""

    stuck: Sequence[str] = ()
    """Jobs without a worker whose clients send telemetry."""
    settled: bool = True
    """Whether the gateways were heard for long enough to forget jobs that are not among them."""
    calls: Sequence[StrayCall] = ()
    """The latest first."""


def callback_url(
    namespace: str, name: str, spec: VMwareApplianceSpec, settings: Settings, keys: CallbackKeys
) -> str | None:
    """Return the control-plane URL to set on the appliance; None when no base URL or no key is known."""
    base, key = spec.callbacks.base_url or settings.gateway_url, keys.current()
    if not base or key is None:
        return None
    return base.rstrip("/") + base_path(namespace, name, make_token(key, namespace, name, spec.callbacks.rotation))


async def reconcile_appliance(ctx: ApplianceContext, namespace: str, name: str) -> float | None:
    """Keep an appliance's status fresh; seconds until the next check."""
    obj = await find(ctx.cluster, APPLIANCE, namespace, name)
    if obj is None or is_deleting(obj):
        return None
    meta = obj["metadata"]
    spec = VMwareApplianceSpec.model_validate(obj["spec"])
    rest = _not_due(ctx, obj, float(spec.health_interval_seconds))
    workers = Workers(
        await active_jobs(ctx, namespace, names.LABEL_APPLIANCE, name), await _running_jobs(ctx, namespace, name)
    )
    if spec.discovery is not None:
        ctx.again(Key(Work.DISCOVERY, namespace, name))
    if rest is not None:
        # Woken by a Job or a pod: only what workers say is new.
        await _write(ctx, obj, spec, None, workers)
        return rest
    ctx.appliance_hints.checked.put(meta["uid"], ctx.monotonic())
    result = await _look(ctx, namespace, spec)
    await _write(ctx, obj, spec, result, workers)
    if isinstance(result, VMAHealth):
        ctx.appliance_hints.failures.pop(meta["uid"])
        if not was_ready(obj):
            await _wake_vms(ctx, namespace, name)
        return float(spec.health_interval_seconds)
    tries = count_up(ctx.appliance_hints.failures, meta["uid"])
    return float(min(ctx.settings.retry_seconds * 2 ** min(tries - 1, 10), spec.health_interval_seconds))


async def _running_jobs(ctx: ReconcileContext, namespace: str, name: str) -> frozenset[str]:
    """Return job IDs of the workers that have not ended, without those requested to stop: they may be lost."""
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER},{names.LABEL_APPLIANCE}={name}"
    pods = await ctx.cluster.list_objects(POD, namespace, labels=selector)
    return frozenset(
        names.vma_job_id(pod["metadata"]["uid"])
        for pod in pods
        if not is_finished(pod) and not is_deleting(pod) and is_worker_pod(pod)
    )


def _seen(ctx: ApplianceContext, namespace: str, name: str) -> UnroutedSummary:
    known, now = ctx.unrouted_calls, ctx.monotonic()
    place = ObjectKey(namespace, name)
    return UnroutedSummary(known.stuck(place), known.is_settled, known.calls_of(place, now))


def was_ready(obj: Obj) -> bool:
    """Return whether its Ready condition says True of the present spec."""
    ready = ready_condition(obj)
    return ready is not None and ready["status"] == "True"


async def _wake_vms(ctx: ReconcileContext, namespace: str, name: str) -> None:
    """Reconcile the VMs that could not be looked up: the appliance answers again."""
    vms = await ctx.cluster.list_objects(PROTECTED_VM, namespace, fields=f"spec.applianceRef.name={name}")
    for vm in vms:
        if not was_ready(vm):
            ctx.again(Key(Work.VM, namespace, vm["metadata"]["name"]))


async def active_jobs(ctx: ReconcileContext, namespace: str, label: str, name: str) -> int:
    """Return the workers that have not ended, by a label of their Jobs."""
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_WORKER},{label}={name}"
    jobs = await ctx.cluster.list_objects(JOB, namespace, labels=selector)
    return sum(1 for job in jobs if is_live(job) and is_worker_job(job))


def _not_due(ctx: ApplianceContext, obj: Obj, interval: float) -> float | None:
    """Return the seconds until the next call; None when it is due, or when the last one went wrong."""
    last = ctx.appliance_hints.checked.get(obj["metadata"]["uid"])
    ready = ready_condition(obj)
    if last is None or ready is None:
        return None
    pause = interval if ready["status"] == "True" else ctx.settings.retry_seconds / 2
    rest = last + pause - ctx.monotonic()
    return rest if rest > 0 else None


async def _look(ctx: VCenterContext, namespace: str, spec: VMwareApplianceSpec) -> VMAHealth | Problem:
    access = await read_connection(ctx, namespace, spec)
    if isinstance(access, Problem):
        return access
    return await _health(ctx, access)


async def _health(ctx: VCenterContext, access: VMAConnection) -> VMAHealth | Problem:
    try:
        async with opened(ctx, access, HEALTH_TIMEOUT_S) as client:
            return await client.health()
    except VMAUnreachable as error:
        return Problem("ApplianceUnreachable", str(error))
    except VMAError as error:
        return Problem("ApplianceError", str(error))
    except (ValueError, OSError) as error:
        return Problem("ApplianceInvalid", str(error))


async def _write(
    ctx: ApplianceContext, obj: Obj, spec: VMwareApplianceSpec, result: VMAHealth | Problem | None, workers: Workers
) -> None:
    meta = obj["metadata"]
    old = VMwareApplianceStatus.model_validate(obj.get("status") or {})
    url = callback_url(meta["namespace"], meta["name"], spec, ctx.settings, ctx.callback_keys)
    seen = _seen(ctx, meta["namespace"], meta["name"])
    generation = meta.get("generation")
    status = next_appliance_status(
        old, result, url=url, workers=workers, seen=seen, generation=generation, now=ctx.now()
    )
    tell_calls(status, seen.calls, generation=generation, now=ctx.now())
    run = ctx.appliance_hints.runs.get(ObjectKey.of(obj))
    tell_discovery(status, spec.discovery, run, generation=meta.get("generation"), now=ctx.now())
    written = await write_status(ctx.cluster, APPLIANCE, obj, status)
    if written and (ready := conditions.changed_ready(old, status)):
        await ctx.events.post(obj, "Warning" if isinstance(result, Problem) else "Normal", ready.reason, ready.message)
    if written and status.stuck_clients > old.stuck_clients:
        await ctx.events.post(obj, "Warning", "StuckClient", describe_stuck(status.stuck_clients))
    strays = [_callbacks_message(one) for one in (old, status)]
    if written and strays[1] and strays[0] != strays[1]:
        await ctx.events.post(obj, "Warning", conditions.REASON_CALLBACKS_ELSEWHERE, strays[1])


def next_appliance_status(
    old: VMwareApplianceStatus,
    result: VMAHealth | Problem | None,
    *,
    url: str | None,
    workers: Workers,
    seen: UnroutedSummary,
    generation: int | None,
    now: datetime,
) -> VMwareApplianceStatus:
    """Return the status that tells of `result`; None: it was not asked, only the rest is new."""
    status = old.model_copy(deep=True)
    status.callback_url = url
    status.active_backups = workers.active
    status.observed_generation = generation
    if isinstance(result, VMAHealth):
        _take_contact(status, now)
    status.stuck_jobs = stuck_jobs(status.stuck_jobs, seen.stuck, workers.jobs, settled=seen.settled)
    status.stuck_clients = len(status.stuck_jobs)
    if result is None:
        return status
    if isinstance(result, VMAHealth):
        status.health = result.status[:256]
        text = f"the appliance answers: {result.status[:256]}"
        if status.stuck_clients:
            text = f"{text}; {describe_stuck(status.stuck_clients)}"
        state = conditions.ready("Healthy", text)
    else:
        state = conditions.reconciling(result.reason, result.message)
    updated = conditions.update(conditions.dicts_of(old), state, generation=generation, now=now)
    status.conditions = conditions.models_of(updated)
    return status


def tell_calls(
    status: VMwareApplianceStatus, calls: Sequence[StrayCall], *, generation: int | None, now: datetime
) -> None:
    """Write into a status where callbacks of this appliance's backups arrive instead; without any it says nothing."""
    if not calls:
        status.conditions = [c for c in status.conditions if c.type != CALLBACKS]
        return
    before, message = conditions.dicts_of(status), describe_call(calls[0])
    updated = conditions.with_aspect(
        before, CALLBACKS, False, conditions.REASON_CALLBACKS_ELSEWHERE, message, generation=generation, now=now
    )
    status.conditions = conditions.models_of(updated)


def _callbacks_message(status: VMwareApplianceStatus) -> str:
    condition = conditions.of_status(status, CALLBACKS)
    return condition.message if condition else ""


def tell_discovery(
    status: VMwareApplianceStatus,
    rules: DiscoverySpec | None,
    run: DiscoveryRun | None,
    *,
    generation: int | None,
    now: datetime,
) -> None:
    """Write into a status what the discovery came to. Without a run, what is there was said by another process."""
    if rules is None:
        status.discovery = None
        status.conditions = [c for c in status.conditions if c.type != DISCOVERED]
    elif run is not None and run.specs[1] == generation:
        reported = report_discovery(run, rules, status.discovery)
        status.discovery = reported.status
        before = conditions.dicts_of(status)
        updated = conditions.with_aspect(
            before, DISCOVERED, reported.holds, reported.reason, reported.message, generation=generation, now=now
        )
        status.conditions = conditions.models_of(updated)


def _take_contact(status: VMwareApplianceStatus, now: datetime) -> None:
    last = status.last_contact_time
    if last is None or not 0 <= (now - last).total_seconds() < CONTACT_STEP_S:
        status.last_contact_time = whole_seconds(now)
