"""How a Backup ends: completed, failed, cancelled, deleted; and what is tidied up afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, Unpack

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, JOB, NETWORK_POLICY, POD, SERVICE
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_worker_pod
from sendense_operator.cluster.status_writer import change_finalizers, has_finalizer, remove_finalizers
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, acknowledge, label, publish
from sendense_operator.reconcile.backups.progress import (
    describe_result,
    final_disks,
    final_progress,
    stopped_disks,
    stopped_progress,
)
from sendense_operator.reconcile.backups.status_changes import BackupChanges
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.reconcile.state.context import BackupContext, ReconcileContext, RestorePointContext
from sendense_operator.reconcile.state.formatting import human_bytes, parse_time, whole_seconds
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_live, is_owned_by, newest, pod_ip
from sendense_operator.reconcile.workload.job_outcome import LINGER_S, last_answer, still_there
from sendense_operator.reconcile.workload.worker_job import TTL_SECONDS
from sendense_operator.reconcile.workload.worker_pod import task_of
from sendense_operator.task import Stage

REPOSITORY_REASONS: Final = frozenset(
    {
        "RepositoryFull",
        "ReadOnly",
        "NotARepository",
        "RepositoryChanged",
        "RepositoryNewer",
        "StorageError",
    }
)
"""Failures after which the repository is checked."""
UNSEEN_REASONS: Final = frozenset({"WorkerDied", "NodeLost", "ActiveDeadlineExceeded"})
"""Failures without a worker's word: its restore point may be in the repository all the same."""
_STOP_POLL_S: Final = 1.0
_UNHEARD_S: Final = 10.0
"""For which a worker is requested to cancel that does not hear it."""


async def complete(
    ctx: RestorePointContext, backup: ObservedBackup, answer: Answer, **more: Unpack[BackupChanges]
) -> None:
    """Record the committed result that the worker answered, and free its slot."""
    await record(ctx, backup, answer, **more)
    _after(ctx, backup, answer)


async def record(
    ctx: RestorePointContext, backup: ObservedBackup, answer: Answer, **more: Unpack[BackupChanges]
) -> None:
    """Say of a Backup what is committed, and `more` fields of the status."""
    state = conditions.ready(
        "Committed", describe_result(answer, "adopted from the repository" if more.get("adopted") else "")
    )
    result: BackupChanges = {**_result(backup, answer, ctx.now()), **more}
    await publish(ctx, backup, state, **result)


def _result(backup: ObservedBackup, answer: Answer, now: datetime) -> BackupChanges:
    stored_bytes = sum(disk.stored_bytes for disk in answer.disks)
    return BackupChanges(
        type=backup_type_of(answer.disks),
        disks=final_disks(answer),
        progress=final_progress(answer, backup.status.start_time or answer.started, now),
        stored_bytes=stored_bytes,
        stored=human_bytes(stored_bytes),
        guest_bytes=sum(disk.guest_bytes for disk in answer.disks),
        manifest=answer.manifest or None,
        repository_id=answer.repository_id or backup.status.repository_id,
        start_time=backup.status.start_time or whole_seconds(answer.started or now),
        restore_point_uid=backup.point_uid,
        # Of the attempt that wrote it, which is not the last one when its answer was lost.
        job_id=answer.job_id or backup.status.job_id,
    )


async def fail(
    ctx: RestorePointContext, backup: ObservedBackup, reason: str, message: str, answer: Answer | None = None
) -> None:
    """Record a failure: the Backup will not become a restore point."""
    death = backup.status.worker_death
    if death is not None and death not in message:
        message = f"{death}; {message}"
    await publish(ctx, backup, conditions.stalled(reason, message), **_stopped(ctx, backup))
    if reason in REPOSITORY_REASONS:
        ctx.repository_messages.request_probe(backup.repository_key)
    _after(ctx, backup, answer)


async def cancelled(ctx: RestorePointContext, backup: ObservedBackup, message: str) -> None:
    """Record that the Backup was stopped on request."""
    await publish(ctx, backup, conditions.stalled(conditions.REASON_CANCELLED, message), **_stopped(ctx, backup))
    _after(ctx, backup, None)


def _stopped(ctx: ReconcileContext, backup: ObservedBackup) -> BackupChanges:
    progress = stopped_progress(backup.status.progress, backup.status.start_time, ctx.now())
    return {"progress": progress, "disks": stopped_disks(backup.status.disks)}


def _after(ctx: RestorePointContext, backup: ObservedBackup, answer: Answer | None) -> None:
    if answer is not None and answer.capacity is not None:
        ctx.repository_messages.report_capacity(backup.repository_key, answer.capacity)
    ctx.watch_hints.answers.pop(backup.uid)
    # The next one of its VM may have waited for it without a Job of it that ends.
    ctx.again(Key(Work.WAKE, backup.namespace))
    ctx.again(Key(Work.REPOSITORY, *backup.repository_key))
    ctx.again(chain_key(backup))


def chain_key(backup: ObservedBackup) -> Key:
    """Return the chain that the Backup belongs to."""
    return Key.of_chain(backup.namespace, backup.chain_key)


async def remove_workload(ctx: ReconcileContext, backup: ObservedBackup) -> float | None:
    """After the end is in the status: let the Job go, free the ports, keep labels, finalizers and generation."""
    if has_finalizer(backup.obj, names.FINALIZER):
        rest = await _tidy_worker(ctx, backup)
        if rest is not None:
            return rest
    await label(ctx, backup)
    add, remove = decide_finalizers(backup)
    backup.obj = await change_finalizers(ctx.cluster, BACKUP, backup.obj, add=add, remove=remove)
    await acknowledge(ctx, backup)
    return None


def decide_finalizers(backup: ObservedBackup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the finalizers that a Backup must have, and those it must not have, once its worker is gone."""
    silent = backup.only_looks or backup.ready_reason in UNSEEN_REASONS | {conditions.REASON_CANCELLED}
    unseen = backup.status.worker_job is not None and silent
    if backup.status.phase in (Phase.COMPLETED, Phase.LOST):
        return (names.FINALIZER_RESTORE_POINT,), (names.FINALIZER,)
    return (), (names.FINALIZER,) if unseen else (names.FINALIZER, names.FINALIZER_RESTORE_POINT)


async def _tidy_worker(ctx: ReconcileContext, backup: ObservedBackup) -> float | None:
    """Return seconds to wait for the worker, None when nothing is left of it but a Job that goes by itself.

    The NetworkPolicy goes after the last pod: an export has no password, and until its pod has ended the policy is all
    that keeps others off it. Past the bound it stays with a pod that does not stop, and goes with the Backup.
    """
    job = await _own_job(ctx, backup)
    live = job is not None and is_live(job)
    if job is not None and live:
        ended = backup.status.completion_time or ctx.now()
        if backup.status.phase is Phase.COMPLETED and (ctx.now() - ended).total_seconds() < LINGER_S:
            return _STOP_POLL_S  # its pod has answered, the Job will notice in a moment, unless others keep it running
        if not is_deleting(job):
            await _stop(ctx, backup, job)
    elif job is not None and not job["spec"].get("ttlSecondsAfterFinished"):
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"ttlSecondsAfterFinished": TTL_SECONDS}}
        await ctx.cluster.merge_patch(JOB, backup.namespace, backup.job_name, patch)
    # A Job that is being deleted in the foreground is live until its last pod is gone.
    left = live or bool(still_there(await _pods(ctx, backup)))
    ended = backup.status.completion_time or ctx.now()
    if left and (ctx.now() - ended).total_seconds() < ctx.settings.cancel_seconds:
        return _STOP_POLL_S
    await ctx.cluster.delete(SERVICE, backup.namespace, backup.service_name)
    if not left:
        await ctx.cluster.delete(NETWORK_POLICY, backup.namespace, backup.job_name)
    return None


async def _pods(ctx: ReconcileContext, backup: ObservedBackup) -> list[Obj]:
    return await ctx.cluster.list_objects(POD, backup.namespace, labels=backup.pods_selector)


async def cancel(ctx: BackupContext, backup: ObservedBackup, job: Obj | None) -> float | None:
    """`spec.cancel` is set: stop the worker and wait for it, within bounds."""
    pods = await _pods(ctx, backup)
    answer = last_answer([pod for pod in pods if is_worker_pod(pod)]) or ctx.watch_hints.answers.get(backup.uid)
    if answer is not None and answer.outcome == "Completed":
        await complete(ctx, backup, answer)  # it was faster
        return 0.0
    if answer is not None:
        ctx.watch_hints.answers.put(backup.uid, answer)  # its pod goes with its Job
    left = still_there(pods)
    if job is not None and is_live(job) and not is_deleting(job):
        if await _ends_by_itself(ctx, backup, job, left):
            return _STOP_POLL_S
        await _stop(ctx, backup, job)
        state = conditions.reconciling("Cancelling", "the worker was requested to stop")
        await publish(ctx, backup, state, urgent=True)
        return _STOP_POLL_S
    if left and not _waited_enough(ctx, backup, job, left):
        text = (
            "the worker was requested to stop" if job is not None else "its Job is gone; waiting for its worker to end"
        )
        await publish(ctx, backup, conditions.reconciling("Cancelling", text))
        return _STOP_POLL_S
    if not left:
        if job is not None and not is_deleting(job):
            await _stop(ctx, backup, job)
        words = _remains(answer)
        await cancelled(ctx, backup, f"cancelled by spec.cancel; {words}" if words else "cancelled by spec.cancel")
    else:
        await cancelled(ctx, backup, f"cancelled by spec.cancel; {_left_behind(left)}")
    return 0.0


async def _ends_by_itself(ctx: BackupContext, backup: ObservedBackup, job: Obj, pods: list[Obj]) -> bool:
    """Request the running worker to cancel; whether it does, and still has time for it.

    An increment's export has to stay until the appliance has written the rest of its disk, which no grace period of a
    pod lasts for. One that does not hear, or does not end, is stopped with its Job.
    """
    pod = newest([pod for pod in pods if pod_ip(pod) and not is_deleting(pod)])
    address = pod_ip(pod) if pod is not None else None
    if pod is None or address is None:
        return False
    since = ctx.backup_hints.cancelling.get(backup.uid)
    if since is None:
        since = ctx.monotonic()
        ctx.backup_hints.cancelling.put(backup.uid, since)
    waited = ctx.monotonic() - since
    task = task_of(job)
    limit = ctx.settings.cancel_seconds + (task.clocks.cancel_increment if task is not None else 0.0)
    uid = pod["metadata"]["uid"]
    if ctx.backup_hints.cancel_heard.get(uid) is None and await ctx.workers.cancel(address):
        ctx.backup_hints.cancel_heard.put(uid, ctx.monotonic())
    heard = ctx.backup_hints.cancel_heard.get(uid) is not None
    if waited > (limit if heard else _UNHEARD_S):
        return False
    report = await ctx.workers.progress(address) if heard else None
    words = report.message if report is not None and report.stage is Stage.CANCELLING else ""
    state = conditions.reconciling("Cancelling", words or "the worker was requested to stop")
    await publish(ctx, backup, state, urgent=backup.ready_reason != "Cancelling", stage=backup.status.stage)
    return True


def _remains(answer: Answer | None) -> str:
    """Return what a worker that was stopped says of its client on the appliance; empty when it says nothing."""
    return answer.left if answer is not None and answer.outcome == "Cancelled" else ""


async def finish_deletion(ctx: RestorePointContext, backup: ObservedBackup) -> float | None:
    """Stop a deleted Backup's worker and wait for it within bounds. Its chain decides about the files."""
    if has_finalizer(backup.obj, names.FINALIZER):
        rest = await _stop_for_good(ctx, backup)
        if rest is not None:
            return rest
        fresh = await find(ctx.cluster, BACKUP, backup.namespace, backup.name)
        if fresh is None or fresh["metadata"]["uid"] != backup.uid:
            return None
        backup.obj = await remove_finalizers(ctx.cluster, BACKUP, fresh, names.FINALIZER)
    if has_finalizer(backup.obj, names.FINALIZER_RESTORE_POINT):
        ctx.again(chain_key(backup))
    return None


async def _stop_for_good(ctx: RestorePointContext, backup: ObservedBackup) -> float | None:
    """Return seconds to wait for the worker of a Backup that is being deleted, None when it is gone or was given up."""
    job = await _own_job(ctx, backup)
    if job is not None and is_live(job) and not is_deleting(job):
        await _stop(ctx, backup, job)
    pods = await _pods(ctx, backup)
    left = still_there(pods)
    if not left:
        await _tell_remains(ctx, backup, pods)
        return None
    asked = parse_time(backup.obj["metadata"]["deletionTimestamp"]) or ctx.now()
    if (ctx.now() - asked).total_seconds() < ctx.settings.cancel_seconds:
        if backup.status.phase is not Phase.DELETING and not backup.is_over:
            state = conditions.reconciling(conditions.REASON_DELETING, "the worker was requested to stop")
            await publish(ctx, backup, state)
        return _STOP_POLL_S
    await ctx.events.post(backup.obj, "Warning", "WorkerLeftBehind", _left_behind(left))
    return None


async def _tell_remains(ctx: RestorePointContext, backup: ObservedBackup, pods: list[Obj]) -> None:
    """Post an Event about what a stopped worker left on the appliance; the object is about to go."""
    answer = last_answer(pods) or ctx.watch_hints.answers.get(backup.uid)
    words = _remains(answer)
    if words and not backup.is_over:
        kind: Literal["Normal", "Warning"] = "Warning" if answer is not None and answer.stuck_client else "Normal"
        await ctx.events.post(backup.obj, kind, "Cancelled", f"stopped because it is being deleted; {words}")


async def _own_job(ctx: ReconcileContext, backup: ObservedBackup) -> Obj | None:
    job = await find(ctx.cluster, JOB, backup.namespace, backup.job_name)
    return job if job is not None and is_owned_by(job, backup.obj) else None


async def _stop(ctx: ReconcileContext, backup: ObservedBackup, job: Obj) -> None:
    """Foreground: the Job stays, and holds its VM and its slot, until its pods are gone."""
    await ctx.cluster.delete(
        JOB, backup.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"], propagation="Foreground"
    )


def _waited_enough(ctx: RestorePointContext, backup: ObservedBackup, job: Obj | None, left: list[Obj]) -> bool:
    """Return whether pods had their time to stop since one was requested to; if none was, since that was first seen.

    Nobody tells them to when somebody deleted their Job and left them as orphans.
    """
    stamps = [obj["metadata"].get("deletionTimestamp") for obj in ([job] if job else []) + left]
    moments = [moment for moment in map(parse_time, stamps) if moment is not None]
    if not moments:
        since = ctx.backup_hints.orphaned.get(backup.uid)
        if since is None:
            ctx.backup_hints.orphaned.put(backup.uid, ctx.monotonic())
            return False
        return ctx.monotonic() - since > ctx.settings.cancel_seconds
    return (ctx.now() - min(moments)).total_seconds() > ctx.settings.cancel_seconds


def _left_behind(pods: list[Obj]) -> str:
    where = ", ".join(
        sorted(f"{pod['metadata']['name']} on {pod['spec'].get('nodeName') or 'no node'}" for pod in pods)
    )
    return f"did not stop in time: {where}. Its unfinished files are removed when the repository is next used"
