"""How a Restore ends, and what is removed of its worker then."""

from __future__ import annotations

from typing import Final

from sendense_operator.answer import Answer, RestoredDisk
from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.api.v1alpha1.restore import DamagedPlace, RestoredDiskStatus, RestoreProgress
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB, POD, RESTORE
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import has_finalizer, remove_finalizers
from sendense_operator.formatting import human_bytes, human_count, human_rate, parse_time, whole_seconds
from sendense_operator.reconcile.backups.finish import REPOSITORY_REASONS
from sendense_operator.reconcile.restores.export_network import close_network
from sendense_operator.reconcile.restores.machine_writing import discard_machine, make_machine, release_machine
from sendense_operator.reconcile.restores.new_claims import release_claims
from sendense_operator.reconcile.restores.restore_sender import remove_sender
from sendense_operator.reconcile.restores.restore_status import ObservedRestore, publish
from sendense_operator.reconcile.state.context import ReconcileContext, RestoreContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import (
    describe_pods,
    is_deleting,
    is_live,
    is_owned_by,
    newest,
    pod_ip,
)
from sendense_operator.reconcile.state.observed_run import acknowledge
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.workload.job_outcome import LINGER_S, last_answer, still_there
from sendense_operator.reconcile.workload.worker_job import TTL_SECONDS

STOP_POLL_S: Final = 1.0
"""Between two checks whether a worker has stopped."""
_SCAN_REASONS: Final = frozenset({"RestorePointDamaged", "RestorePointGone"})
"""Failures after which the repository is scanned, so that Backups and chain show what the worker found."""


async def complete(ctx: RestoreContext, restore: ObservedRestore, answer: Answer) -> Problem | None:
    """Record that all disks are in their targets and were read back, or were verified, or the export's time is over.

    Return what keeps the VirtualMachine of the disks from being made; then nothing is recorded.
    """
    if problem := await make_machine(ctx, restore):
        return problem
    if restore.spec.nbd is not None:
        state = conditions.ready("Served", "the time of the export (spec.target.nbd.ttlSeconds) is over")
        await publish(ctx, restore, state, disks=unserved_disks(restore.status.disks))
        _after(ctx, restore)
        return None
    disks = finished_disks(restore.status.disks, answer.restored)
    damaged = sum(disk.damaged_bytes or 0 for disk in disks)
    await publish(
        ctx,
        restore,
        _result(restore, disks, damaged),
        start_time=restore.status.start_time or whole_seconds(answer.started or ctx.now()),
        disks=disks,
        progress=_final_progress(ctx, restore, disks, answer),
    )
    if damaged:
        _request_scan(ctx, restore)
    _after(ctx, restore)
    return None


def _result(restore: ObservedRestore, disks: list[RestoredDiskStatus], damaged: int) -> State:
    count = human_count(len(disks), "disk")
    size = human_bytes(sum(disk.virtual_size for disk in disks))
    data = human_bytes(sum(disk.data_bytes or 0 for disk in disks))
    point = restore.status.restore_point
    of = f" of restore point {point.backup_name}" if point is not None else ""
    if restore.spec.verify_only:
        reason, text = "Verified", f"{count}{of}: {size} with {data} of data read as they were written"
    else:
        reason, text = "Restored", f"{count}{of}: {size} with {data} of data restored, read back and compared"
    if damaged:
        reason += "WithDamage"
        where = "zeroes in the target" if not restore.spec.verify_only else "passed over"
        text += f", except {human_bytes(damaged)} that are damaged in the restore point and {where}; see status.disks"
    if restore.status.virtual_machine is not None:
        text += f"; VirtualMachine {restore.status.virtual_machine.name} has them as its disks, and is not started"
    return conditions.ready(reason, text)


def finished_disks(old: list[RestoredDiskStatus], restored: tuple[RestoredDisk, ...]) -> list[RestoredDiskStatus]:
    """Return the disks of a completed restore."""
    results = {disk.index: disk for disk in restored}
    disks = []
    for disk in stopped_disks(old):
        disk.processed_bytes, disk.percent = disk.virtual_size, 100
        if (result := results.get(disk.index)) is not None:
            disk.data_bytes, disk.written_bytes = result.data_bytes, result.written_bytes
            disk.damaged_bytes = result.damaged_bytes or None
            disk.damaged = [DamagedPlace(offset=part.offset, length=part.length) for part in result.damaged]
        disks.append(disk)
    return disks


def unserved_disks(old: list[RestoredDiskStatus]) -> list[RestoredDiskStatus]:
    """Return copies of the disks without an address."""
    disks = stopped_disks(old)
    for disk in disks:
        disk.uri = None
    return disks


def stopped_disks(old: list[RestoredDiskStatus]) -> list[RestoredDiskStatus]:
    """Return copies of the disks without a rate and an estimate."""
    disks = [disk.model_copy(deep=True) for disk in old]
    for disk in disks:
        disk.rate = disk.eta = None
    return disks


def _final_progress(
    ctx: RestoreContext, restore: ObservedRestore, disks: list[RestoredDiskStatus], answer: Answer
) -> RestoreProgress:
    total = sum(disk.virtual_size for disk in disks)
    started = restore.status.start_time or answer.started
    seconds = ((answer.finished or ctx.now()) - started).total_seconds() if started is not None else 0.0
    data = sum(disk.data_bytes or 0 for disk in disks)
    rate = int(data / seconds) if seconds > 0 else 0
    return RestoreProgress(
        processed_bytes=total,
        total_bytes=total,
        percent=100,
        summary="100%",
        rate_bytes_per_second=rate,
        rate=human_rate(rate),
        last_update_time=whole_seconds(ctx.now()),
    )


async def fail(ctx: RestoreContext, restore: ObservedRestore, reason: str, message: str) -> None:
    """Record a failure."""
    await discard_machine(ctx, restore)
    await publish(ctx, restore, conditions.stalled(reason, message), disks=unserved_disks(restore.status.disks))
    if reason in REPOSITORY_REASONS and restore.repository_key is not None:
        ctx.repository_messages.request_probe(restore.repository_key)
        ctx.again(Key(Work.REPOSITORY, *restore.repository_key))
    if reason in _SCAN_REASONS:
        _request_scan(ctx, restore)
    _after(ctx, restore)


async def cancelled(ctx: RestoreContext, restore: ObservedRestore, message: str) -> None:
    """Record that the Restore was stopped on request."""
    await discard_machine(ctx, restore)
    state = conditions.stalled(conditions.REASON_CANCELLED, message)
    await publish(ctx, restore, state, disks=unserved_disks(restore.status.disks))
    _after(ctx, restore)


def _request_scan(ctx: RestoreContext, restore: ObservedRestore) -> None:
    if restore.repository_key is not None:
        ctx.repository_messages.request_scan(restore.repository_key)
        ctx.again(Key(Work.REPOSITORY, *restore.repository_key))


def _after(ctx: RestoreContext, restore: ObservedRestore) -> None:
    """Wake what may wait for the slot or for a claim; a Restore that never had a Job has none that ends."""
    ctx.again(Key(Work.WAKE, restore.namespace))


async def remove_worker(ctx: RestoreContext, restore: ObservedRestore) -> float | None:
    """After the end is in the status: let the Job go. Return seconds to wait, None when nothing is left to do."""
    if has_finalizer(restore.obj, names.FINALIZER):
        if restore.status.phase is Phase.COMPLETED:
            await release_claims(ctx, restore)
            await release_machine(ctx, restore)  # after its disks, so that it never stays without them
        job = await own_job(ctx, restore)
        if job is not None and is_live(job):
            ended = restore.status.completion_time or ctx.now()
            if (ctx.now() - ended).total_seconds() < LINGER_S:
                return STOP_POLL_S  # its pod has answered, the Job will notice in a moment
            rest = await stop_worker(ctx, restore, job)
            if rest is not None:
                return rest
        elif job is not None and not job["spec"].get("ttlSecondsAfterFinished"):
            patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"ttlSecondsAfterFinished": TTL_SECONDS}}
            await ctx.cluster.merge_patch(JOB, restore.namespace, restore.job_name, patch)
        await remove_sender(ctx, restore)
        await close_network(ctx, restore)
        restore.obj = await remove_finalizers(ctx.cluster, RESTORE, restore.obj, names.FINALIZER)
    restore.status = await acknowledge(ctx, RESTORE, restore.obj, restore.status)
    return None


async def cancel(ctx: RestoreContext, restore: ObservedRestore, job: Obj | None) -> float | None:
    """`spec.cancel` is set: stop the worker, which removes its unfinished images, and wait for it within bounds."""
    pods = await pods_of(ctx, restore)
    answer = last_answer(pods) or (ctx.watch_hints.answers.get(job["metadata"]["uid"]) if job is not None else None)
    if answer is not None and answer.outcome == "Completed" and await complete(ctx, restore, answer) is None:
        return 0.0  # it was faster
    rest = await stop_worker(ctx, restore, job)
    if rest is not None:
        await publish(ctx, restore, conditions.reconciling("Cancelling", "the worker was requested to stop"))
        return rest
    left = still_there(await pods_of(ctx, restore))
    words = f"; {_left_behind(left)}" if left else ""
    await cancelled(ctx, restore, f"cancelled by spec.cancel{words}")
    return 0.0


async def finish_deletion(ctx: RestoreContext, restore: ObservedRestore) -> float | None:
    """Stop the worker of a Restore that is being deleted, within bounds, and let the object go."""
    if not has_finalizer(restore.obj, names.FINALIZER):
        return None
    rest = await stop_worker(ctx, restore, await own_job(ctx, restore))
    asked = parse_time(restore.obj["metadata"]["deletionTimestamp"]) or ctx.now()
    if rest is not None and (ctx.now() - asked).total_seconds() < 2 * ctx.settings.cancel_seconds:
        if not restore.is_over:
            state = conditions.reconciling(conditions.REASON_DELETING, "the worker was requested to stop")
            await publish(ctx, restore, state)
        return rest
    if left := still_there(await pods_of(ctx, restore)):
        await ctx.events.post(restore.obj, "Warning", "WorkerLeftBehind", _left_behind(left))
    await remove_sender(ctx, restore)
    fresh = await find(ctx.cluster, RESTORE, restore.namespace, restore.name)
    if fresh is not None and fresh["metadata"]["uid"] == restore.uid:
        await remove_finalizers(ctx.cluster, RESTORE, fresh, names.FINALIZER)
    _after(ctx, restore)
    return None


async def stop_worker(ctx: RestoreContext, restore: ObservedRestore, job: Obj | None) -> float | None:
    """Request the worker to cancel, then delete its Job. Return seconds to wait, None when nothing runs any more.

    A worker that is requested to cancel removes its unfinished images. One that only receives a termination signal
    keeps them for the next attempt, so the Job is deleted only when its pod has ended or does not listen.
    """
    left = still_there(await pods_of(ctx, restore))
    since = ctx.restore_hints.stopping.get(restore.uid)
    if since is None:
        since = ctx.monotonic()
        ctx.restore_hints.stopping.put(restore.uid, since)
    waited = ctx.monotonic() - since
    pod = newest([pod for pod in left if pod_ip(pod) and not is_deleting(pod)])
    address = pod_ip(pod) if pod is not None else None
    if job is not None and is_live(job) and not is_deleting(job):
        if address is not None and waited < ctx.settings.cancel_seconds:
            await ctx.workers.cancel(address)
            return STOP_POLL_S
        meta = job["metadata"]
        await ctx.cluster.delete(JOB, restore.namespace, meta["name"], uid=meta["uid"], propagation="Foreground")
        return STOP_POLL_S
    if left and waited < 2 * ctx.settings.cancel_seconds:
        return STOP_POLL_S
    return None


async def own_job(ctx: ReconcileContext, restore: ObservedRestore) -> Obj | None:
    """Return the Restore's Job, if it was made for it. Raises ClusterError."""
    job = await find(ctx.cluster, JOB, restore.namespace, restore.job_name)
    return job if job is not None and is_owned_by(job, restore.obj) else None


async def pods_of(ctx: ReconcileContext, restore: ObservedRestore) -> list[Obj]:
    """Return all pods of the Restore's Job. Raises ClusterError."""
    return await ctx.cluster.list_objects(POD, restore.namespace, labels=restore.pods_selector)


def _left_behind(pods: list[Obj]) -> str:
    return (
        f"did not stop in time: {describe_pods(pods)}. Unfinished images, whose names end in .partial, may be left in "
        "the claim"
    )
