"""Starting a Backup's worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupDisk, RequestedType
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP, CLAIM, JOB, NETWORK_POLICY, POD, SERVICE, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import add_finalizers
from sendense_operator.reconcile.backups.backup_status import ACCEPTED, ObservedBackup, publish
from sendense_operator.reconcile.backups.backup_task import build_backup_task
from sendense_operator.reconcile.backups.finish import fail
from sendense_operator.reconcile.backups.references import References, resolve
from sendense_operator.reconcile.backups.start_queue import admit, forget, is_current
from sendense_operator.reconcile.state.context import BackupContext, ReconcileContext, RestorePointContext
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.queue_records import Admitted, Waits
from sendense_operator.reconcile.workload.claims import needs_one_node
from sendense_operator.reconcile.workload.pod_overrides import maintenance_resources, merge_overrides, resources_of
from sendense_operator.reconcile.workload.worker_job import build_worker_job, worker_labels
from sendense_operator.reconcile.workload.worker_memory import decide_resources
from sendense_operator.reconcile.workload.worker_network import build_network_policy, build_service, node_ports
from sendense_operator.reconcile.workload.worker_pod import build_worker_template
from sendense_operator.task import Exposure


async def start_backup(ctx: BackupContext, backup: ObservedBackup) -> float | None:
    """Make the worker's Job, or say what the Backup waits for. Seconds until the next check."""
    if not backup.ready_reason:
        # Before the appliance is asked, which may take as long as its time-out lets it.
        text = f"VM {backup.spec.vm_ref.name} and repository {backup.spec.repository_ref.name} are being checked"
        await publish(ctx, backup, conditions.reconciling(ACCEPTED, text))
    refs = await resolve(ctx, backup)
    if isinstance(refs, Problem):
        return await wait_or_fail(ctx, backup, refs)
    ctx.backup_hints.unreachable.pop(backup.uid)
    resources = _resources(ctx, backup, refs)
    if isinstance(resources, Problem):
        return await wait_or_fail(ctx, backup, resources)
    async with ctx.admission:
        seen, verdict = await admit(ctx, backup, refs)
        problem = None if isinstance(verdict, Waits) else await _create_worker(ctx, backup, refs, verdict, resources)
    if isinstance(verdict, Waits):
        rest = await wait_or_fail(ctx, backup, Problem(verdict.reason, verdict.message))
        # A Job that ended since the Jobs were listed woke those that were known to wait, this one maybe not yet.
        return rest if is_current(ctx, backup.namespace, seen) else 0.0
    if problem is not None:
        return await wait_or_fail(ctx, backup, problem)
    await publish(
        ctx,
        backup,
        conditions.reconciling("Starting", "the worker's pod is being started"),
        worker_job=backup.job_name,
        vm_name=refs.found.vm.name[:1024],
        chain_name=backup.chain_key.object_name,
        repository_id=refs.repository_id,
        disks=backup.status.disks
        or [BackupDisk(index=disk.index, key=disk.key, virtual_size=disk.virtual_size) for disk in refs.found.disks],
    )
    return ctx.settings.poll_seconds


def overdue(ctx: ReconcileContext, backup: ObservedBackup) -> Problem | None:
    """Return whether a deadline has passed while there is no worker."""
    return backup.deadlines.overdue(ctx.now(), conditions.of_status(backup.status, conditions.READY))


async def wait_or_fail(ctx: RestorePointContext, backup: ObservedBackup, problem: Problem) -> float | None:
    """Say what it waits for, or end it where waiting makes no sense (any more)."""
    if problem.meaning is Meaning.FINAL:
        await fail(ctx, backup, problem.reason, problem.message)
        return 0.0
    pause = ctx.settings.wait_poll_seconds
    if problem.meaning is Meaning.RETRY:
        since = ctx.backup_hints.unreachable.get(backup.uid)
        if since is None:
            since = ctx.monotonic()
            ctx.backup_hints.unreachable.put(backup.uid, since)
        waited = ctx.monotonic() - since
        if waited > ctx.settings.appliance_patience_seconds:
            await fail(ctx, backup, problem.reason, f"{problem.message} (tried again for {int(waited)} s)")
            return 0.0
        pause = ctx.settings.retry_seconds
    else:
        ctx.backup_hints.unreachable.pop(backup.uid)
    await publish(ctx, backup, conditions.reconciling(problem.reason, problem.message))
    return min(pause, backup.deadlines.until_start_deadline(ctx.now()))


@dataclass(frozen=True)
class _Plan:
    """What is the same in all objects that are made for a worker."""

    labels: dict[str, str]
    host_ports: tuple[int, ...]
    one_node: bool
    resources: Obj


def _resources(ctx: ReconcileContext, backup: ObservedBackup, refs: References) -> Obj | Problem:
    """Of the worker's container. How deep a disk's layers lie only the repository knows: as deep as it allows."""
    wanted = merge_overrides(ctx.settings.pod_defaults, refs.repository.pod_template)
    if backup.only_looks:
        return maintenance_resources(wanted)
    layers = 1 if backup.spec.type is RequestedType.FULL else refs.repository.max_chain_depth
    disks = [DiskLoad(disk.virtual_size, layers) for disk in refs.found.disks]
    return decide_resources(disks, resources_of(wanted), ctx.settings.worker_max_memory)


async def _create_worker(
    ctx: BackupContext, backup: ObservedBackup, refs: References, admitted: Admitted, resources: Obj
) -> Problem | None:
    """Create the worker's objects, the Job last. Each may exist from before a restart of the controller."""
    labels = worker_labels(
        backup.obj,
        vm=backup.spec.vm_ref.name,
        repository=backup.spec.repository_ref.name,
        appliance=refs.vm.appliance_ref.name,
        vm_key=names.vm_key(names.last_path_element(refs.vm.path)),
        vm_identity=names.vm_identity(refs.appliance.vcenter.host, refs.vm.path),
    )
    claim = await find(ctx.cluster, CLAIM, backup.namespace, refs.repository.claim_name)
    plan = _Plan(labels, admitted.host_ports, claim is not None and needs_one_node(claim), resources)
    count = len(refs.found.disks)
    try:
        provisional = admitted.host_ports or tuple(names.NBD_BASE_PORT + index for index in range(count))
        await _ask_pod_security(ctx, backup, _template(ctx, backup, refs, plan, provisional))
        # Before the first object that has to be cleaned up; refused when the Backup is being deleted.
        held = (names.FINALIZER, names.FINALIZER_RESTORE_POINT)
        backup.obj = await add_finalizers(ctx.cluster, BACKUP, backup.obj, *held)
        if ctx.settings.network_policies:
            allowed = refs.appliance.nbd.allowed_from
            policy = build_network_policy(backup.obj, labels, count, allowed, ctx.settings)
            await _ensure_policy(ctx, policy)
        ports = provisional
        if refs.appliance.nbd.exposure is Exposure.NODE_PORT and not backup.only_looks:
            ports = node_ports(await _ensure(ctx, SERVICE, build_service(backup.obj, labels, count)))
            if len(ports) != count:
                # Made for another number of disks before the controller was restarted.
                await ctx.cluster.delete(SERVICE, backup.namespace, backup.service_name)
                return Problem("PortsChanging", "the Service is being recreated")
        template = _template(ctx, backup, refs, plan, ports)
        deadline = backup.deadlines.job_seconds(ctx.now())
        job = build_worker_job(backup.obj, template, labels, retries=backup.spec.retries, deadline_seconds=deadline)
        await _ensure(ctx, JOB, job)
    except ForbiddenError as error:
        reason = "NamespaceTerminating" if error.terminating else "PodForbidden"
        return Problem(reason, str(error))
    except InvalidError as error:
        return Problem("PodForbidden", f"the API server refuses what a worker needs: {error}")
    finally:
        forget(ctx)
    return None


def _template(
    ctx: ReconcileContext, backup: ObservedBackup, refs: References, plan: _Plan, ports: tuple[int, ...]
) -> Obj:
    task = build_backup_task(
        namespace=backup.namespace,
        backup=backup.name,
        uid=backup.uid,
        spec=backup.spec,
        repository=refs.repository,
        repository_id=refs.repository_id,
        vm=refs.vm,
        disks=refs.found.disks,
        appliance=refs.appliance,
        ports=ports,
        parent_check=refs.chain.parent_check,
        compaction=refs.chain.compaction,
        adopt_only=backup.only_looks,
        now=ctx.now(),
    )
    return build_worker_template(
        task,
        labels=plan.labels,
        repository=refs.repository,
        appliance=refs.appliance,
        host_ports=plan.host_ports,
        one_node=plan.one_node,
        resources=plan.resources,
        settings=ctx.settings,
    )


async def _ask_pod_security(ctx: ReconcileContext, backup: ObservedBackup, template: Obj) -> None:
    """Dry-run the pod's creation: one that admission forbids would only show as an Event of its Job."""
    pod: dict[str, Any] = {
        "metadata": {**template["metadata"], "namespace": backup.namespace, "name": f"{backup.job_name[:58]}-dry"},
        "spec": template["spec"],
    }
    await ctx.cluster.create(POD, pod, dry_run=True)


async def _ensure(ctx: ReconcileContext, kind: Kind, obj: Obj) -> Obj:
    try:
        return await ctx.cluster.create(kind, obj)
    except AlreadyExistsError:
        meta = obj["metadata"]
        return await ctx.cluster.get(kind, meta["namespace"], meta["name"])


async def _ensure_policy(ctx: ReconcileContext, policy: Obj) -> None:
    """One that is there was made for what the appliance's spec, the VM's disks and our settings were then.

    It is replaced, not patched: there is no worker yet that could be reached in between.
    """
    present = await _ensure(ctx, NETWORK_POLICY, policy)
    if present["spec"] == policy["spec"]:
        return
    meta = present["metadata"]
    await ctx.cluster.delete(NETWORK_POLICY, meta["namespace"], meta["name"], uid=meta["uid"])
    await ctx.cluster.create(NETWORK_POLICY, policy)
