"""Start of a Restore: its restore point, its claims and VirtualMachine, its turn, and its Job."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.file_target import FileTarget, OVAHardware
from sendense_operator.api.v1alpha1.restore import ChosenPoint, RestoredDiskStatus
from sendense_operator.api.v1alpha1.restore_target import RestoreTarget
from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import CLAIM, RESTORE
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import add_finalizers
from sendense_operator.reconcile.restores.export_key import ensure_key
from sendense_operator.reconcile.restores.export_network import open_network
from sendense_operator.reconcile.restores.machine_plan import choose_storage_classes, decide_machine
from sendense_operator.reconcile.restores.machine_writing import check_machine
from sendense_operator.reconcile.restores.new_claims import make_claims
from sendense_operator.reconcile.restores.restore_end import fail
from sendense_operator.reconcile.restores.restore_nodes import Placement, find_placement
from sendense_operator.reconcile.restores.restore_sender import STARTING, ensure_sender, receiver_task
from sendense_operator.reconcile.restores.restore_source import (
    ReadableRepository,
    SourcePoint,
    find_repository,
    find_source,
)
from sendense_operator.reconcile.restores.restore_status import ObservedRestore, publish
from sendense_operator.reconcile.restores.restore_targets import assign_claims, check_claims
from sendense_operator.reconcile.state.context import ReconcileContext, RestoreContext
from sendense_operator.reconcile.state.kubernetes_objects import QueuePlace, is_deleting
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.claims import needs_one_node
from sendense_operator.reconcile.workload.job_creation import create_job
from sendense_operator.reconcile.workload.pod_overrides import merge_overrides, resources_of
from sendense_operator.reconcile.workload.restore_job import RestorePlan, build_restore_job, live_restores
from sendense_operator.reconcile.workload.worker_memory import decide_resources
from sendense_operator.restore_task import FileHardware, FileTask, RestoreDisk, RestoreTask
from sendense_operator.task import PointReference

WAITING_FOR_SLOT: Final = "WaitingForSlot"


async def start_restore(ctx: RestoreContext, restore: ObservedRestore) -> float | None:
    """Make the worker's Job, or say what the Restore waits for. Return seconds until the next check."""
    if restore.status.restore_point is None:
        return await _choose(ctx, restore)
    problem = await _start(ctx, restore, restore.status.restore_point)
    if problem is not None:
        rest = await wait_or_fail(ctx, restore, problem)
        return min(rest, ctx.settings.poll_seconds) if problem is STARTING else rest
    state = conditions.reconciling("Starting", "the worker's pod is being started")
    await publish(ctx, restore, state, worker_job=restore.job_name)
    return ctx.settings.poll_seconds


async def _choose(ctx: RestoreContext, restore: ObservedRestore) -> float:
    """Write the restore point and its disks to the status, once and for all: a newer one must not replace it."""
    found = await find_source(ctx, restore)
    if isinstance(found, Problem):
        return await wait_or_fail(ctx, restore, found)
    planned = _choose_targets(restore.spec.target, found)
    if isinstance(planned, Problem):
        return await wait_or_fail(ctx, restore, planned)
    machine, disks = planned
    text = f"restore point {found.point.backup_name} was chosen; claims and repository are being checked"
    await publish(
        ctx,
        restore,
        conditions.reconciling("Accepted", text),
        urgent=True,
        restore_point=found.point,
        virtual_machine=machine,
        disks=disks,
    )
    return 0.0


def _choose_targets(
    target: RestoreTarget | None, found: SourcePoint
) -> tuple[PlannedMachine | None, list[RestoredDiskStatus]] | Problem:
    """Return the VirtualMachine to make, if any, and the disks with their claims."""
    machine: PlannedMachine | None = None
    disks = _disks(found)
    if target is not None and target.virtual_machine is not None:
        wanted = target.virtual_machine
        decided = decide_machine(wanted, found.hardware, found.point.backup_name)
        classified = choose_storage_classes(wanted, found.hardware, disks)
        if isinstance(decided, Problem):
            return decided
        if isinstance(classified, Problem):
            return classified
        machine, disks = decided, classified
    assigned = assign_claims(target, disks, found.point)
    return assigned if isinstance(assigned, Problem) else (machine, assigned)


def _disks(found: SourcePoint) -> list[RestoredDiskStatus]:
    return [
        RestoredDiskStatus(index=disk.index, virtual_size=disk.virtual_size, layers=disk.depth or 1)
        for disk in found.disks
    ]


async def _start(ctx: RestoreContext, restore: ObservedRestore, point: ChosenPoint) -> Problem | None:
    """Create the Job if nothing keeps the Restore from starting."""
    repository = await find_repository(ctx, restore, point.repository_name)
    if isinstance(repository, Problem):
        return repository
    plan = await _plan(ctx, restore, repository)
    if isinstance(plan, Problem):
        return plan
    async with ctx.restore_slots:
        problem = await check_claims(ctx, restore, restore.status.disks)
        problem = problem or await check_machine(ctx, restore)
        if problem is not None:
            return problem
        placement = await find_placement(ctx, restore, repository, one_node=plan.one_node)
        if isinstance(placement, Problem):
            return placement
        waits = await _waits_for_slot(ctx, restore, repository) if restore.spec.nbd is None else None
        return waits or await _create(ctx, restore, build_task(restore, point, repository), plan, placement)


async def _waits_for_slot(
    ctx: RestoreContext, restore: ObservedRestore, repository: ReadableRepository
) -> Problem | None:
    """Return the wait if all slots of the repository are taken, or are due to Restores that wait for longer."""
    running = await live_restores(ctx.cluster, restore.namespace, repository.name)
    if restore.job_name in running:
        return None
    fields = f"status.phase={Phase.PENDING.value},status.restorePoint.repositoryName={repository.name}"
    waiting = await collect(ctx.cluster, RESTORE, restore.namespace, _waiting_place, fields=fields)
    mine = _place(restore.obj)
    ahead = sum(place < mine for place in waiting)
    slots = repository.spec.max_concurrent_restores
    if len(running) + ahead < slots:
        return None
    text = (
        f"{len(running)} of {slots} restores run from BackupRepository {repository.name} "
        f"(spec.maxConcurrentRestores); position {ahead + 1} in the queue"
    )
    return Problem(WAITING_FOR_SLOT, text)


def _waiting_place(restore: Obj) -> QueuePlace | None:
    """Return the place of a Restore that waits for nothing but a slot; it may have been created, but not started."""
    found = (restore.get("status") or {}).get("conditions") or ()
    ready = conditions.find(found, conditions.READY) or {}
    waits = ready.get("reason") == WAITING_FOR_SLOT and not restore["spec"].get("cancel")
    return _place(restore) if waits and not is_deleting(restore) else None


def _place(restore: Obj) -> QueuePlace:
    meta = restore["metadata"]
    return meta["creationTimestamp"], False, meta["name"]


def _resources(ctx: ReconcileContext, restore: ObservedRestore, repository: ReadableRepository) -> Obj | Problem:
    """Return the resources of the worker's container: one disk is read at a time."""
    wanted = merge_overrides(ctx.settings.pod_defaults, repository.spec.pod_template)
    disks = restore.status.disks
    largest = DiskLoad(max(disk.virtual_size for disk in disks), max(disk.layers for disk in disks))
    return decide_resources([largest], resources_of(wanted), ctx.settings.worker_max_memory)


async def _plan(
    ctx: ReconcileContext, restore: ObservedRestore, repository: ReadableRepository
) -> RestorePlan | Problem:
    """Return what the Job is made of, or why it can't be made. Raises ClusterError."""
    resources = _resources(ctx, restore, repository)
    if isinstance(resources, Problem):
        return resources
    claim = await find(ctx.cluster, CLAIM, restore.namespace, repository.spec.claim_name)
    return RestorePlan(
        repository_name=repository.name,
        repository=repository.spec,
        one_node=claim is not None and needs_one_node(claim),
        resources=resources,
        retries=restore.spec.retries,
        deadline_seconds=restore.deadlines.job_seconds(ctx.now()),
    )


async def _create(
    ctx: RestoreContext, restore: ObservedRestore, task: RestoreTask, plan: RestorePlan, placement: Placement
) -> Problem | None:
    """Create the Job, and before it what it needs; with two pods, only once the sender serves."""
    try:
        # Before the first object that has to be cleaned up; refused when the Restore is being deleted.
        restore.obj = await add_finalizers(ctx.cluster, RESTORE, restore.obj, names.FINALIZER)
        if problem := await make_claims(ctx, restore):
            return problem
        if restore.spec.serves_tls and (problem := await ensure_key(ctx, restore)):
            return problem
        if restore.spec.nbd is not None:
            await open_network(ctx, restore, restore.spec.nbd)
        if placement is Placement.TWO_PODS:
            if problem := await ensure_sender(ctx, restore, task, plan):
                return problem
            task = receiver_task(task, restore.obj)
        await create_job(ctx.cluster, build_restore_job(restore.obj, task, plan, ctx.settings))
    except AlreadyExistsError:
        return None
    except ForbiddenError as error:
        return Problem("NamespaceTerminating" if error.terminating else "PodForbidden", str(error))
    except InvalidError as error:
        return Problem("PodForbidden", f"the API server refuses what a restore needs: {error}")
    return None


def build_task(restore: ObservedRestore, point: ChosenPoint, repository: ReadableRepository) -> RestoreTask:
    """Return the worker's task."""
    return RestoreTask(
        namespace=restore.namespace,
        folder=repository.spec.folder,
        restore=restore.name,
        restore_uid=restore.uid,
        vm=point.vm_name,
        repository_id=repository.repository_id,
        repository_path=repository.spec.path,
        point=PointReference(backup=point.backup_name, backup_uid=point.uid),
        disks=tuple(
            RestoreDisk(index=disk.index, virtual_size=disk.virtual_size, claim=disk.claim_name or "")
            for disk in restore.status.disks
        ),
        verify_only=restore.spec.verify_only,
        serve=restore.spec.nbd is not None,
        serve_seconds=restore.spec.nbd.ttl_seconds if restore.spec.nbd is not None else None,
        serve_tls=restore.spec.serves_tls,
        file=_file_task(restore.spec.file) if restore.spec.file is not None else None,
        allow_damaged=restore.spec.allow_damaged,
    )


def _file_task(file: FileTarget) -> FileTask:
    wanted = file.hardware or OVAHardware()
    hardware = FileHardware(
        processors=wanted.processors,
        memory_bytes=wanted.memory_bytes,
        firmware=wanted.firmware,
        scsi_controller=wanted.scsi_controller,
    )
    return FileTask(format=file.format, folder=file.folder or "", hardware=hardware)


def overdue(ctx: ReconcileContext, restore: ObservedRestore) -> Problem | None:
    """Return whether a deadline has passed while there is no worker."""
    return restore.deadlines.overdue(ctx.now(), conditions.of_status(restore.status, conditions.READY))


async def wait_or_fail(ctx: RestoreContext, restore: ObservedRestore, problem: Problem) -> float:
    """Say what the Restore waits for, or end it where waiting makes no sense (any more)."""
    if problem.meaning is Meaning.FINAL:
        await fail(ctx, restore, problem.reason, problem.message)
        return 0.0
    await publish(ctx, restore, conditions.reconciling(problem.reason, problem.message))
    return min(ctx.settings.wait_poll_seconds, restore.deadlines.until_start_deadline(ctx.now()))
