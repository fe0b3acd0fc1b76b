"""Stop of a worker whose Backup is cancelled or deleted: it is requested to, and waited for within bounds."""

from __future__ import annotations

from typing import Final, Literal

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_worker_pod
from sendense_operator.cluster.status_writer import has_finalizer, remove_finalizers
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.backups.finish import cancelled, chain_key, complete
from sendense_operator.reconcile.backups.worker_removal import STOP_POLL_S, own_job, pods_of, stop_job
from sendense_operator.reconcile.state.context import BackupContext, RestorePointContext
from sendense_operator.reconcile.state.kubernetes_objects import describe_pods, is_deleting, is_live, newest, pod_ip
from sendense_operator.reconcile.workload.job_outcome import last_answer, still_there
from sendense_operator.reconcile.workload.worker_pod import task_of
from sendense_operator.task import Stage

_UNHEARD_S: Final = 10.0
"""For which a worker is requested to cancel that does not hear it."""


async def cancel(ctx: BackupContext, backup: ObservedBackup, job: Obj | None) -> float | None:
    """`spec.cancel` is set: stop the worker and wait for it, within bounds."""
    pods = await pods_of(ctx, backup)
    answer = last_answer([pod for pod in pods if is_worker_pod(pod)]) or ctx.watch_hints.answers.get(backup.uid)
    if answer is not None and answer.outcome == "Completed":
        await complete(ctx, backup, answer)  # it was faster
        return 0.0
    if answer is not None:
        ctx.watch_hints.answers.put(backup.uid, answer)  # its pod goes with its Job
    left = still_there(pods)
    if job is not None and is_live(job) and not is_deleting(job):
        if await _ends_by_itself(ctx, backup, job, left):
            return STOP_POLL_S
        await stop_job(ctx, backup, job)
        state = conditions.reconciling("Cancelling", "the worker was requested to stop")
        await publish(ctx, backup, state, urgent=True)
        return STOP_POLL_S
    if left and not _waited_enough(ctx, backup, job, left):
        text = (
            "the worker was requested to stop" if job is not None else "its Job is gone; waiting for its worker to end"
        )
        await publish(ctx, backup, conditions.reconciling("Cancelling", text))
        return STOP_POLL_S
    if not left:
        if job is not None and not is_deleting(job):
            await stop_job(ctx, backup, job)
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
    job = await own_job(ctx, backup)
    if job is not None and is_live(job) and not is_deleting(job):
        await stop_job(ctx, backup, job)
    pods = await pods_of(ctx, backup)
    left = still_there(pods)
    if not left:
        await _tell_remains(ctx, backup, pods)
        return None
    asked = parse_time(backup.obj["metadata"]["deletionTimestamp"]) or ctx.now()
    if (ctx.now() - asked).total_seconds() < ctx.settings.cancel_seconds:
        if backup.status.phase is not Phase.DELETING and not backup.is_over:
            state = conditions.reconciling(conditions.REASON_DELETING, "the worker was requested to stop")
            await publish(ctx, backup, state)
        return STOP_POLL_S
    await ctx.events.post(backup.obj, "Warning", "WorkerLeftBehind", _left_behind(left))
    return None


async def _tell_remains(ctx: RestorePointContext, backup: ObservedBackup, pods: list[Obj]) -> None:
    """Post an Event about what a stopped worker left on the appliance; the object is about to go."""
    answer = last_answer(pods) or ctx.watch_hints.answers.get(backup.uid)
    words = _remains(answer)
    if words and not backup.is_over:
        kind: Literal["Normal", "Warning"] = "Warning" if answer is not None and answer.stuck_client else "Normal"
        await ctx.events.post(backup.obj, kind, "Cancelled", f"stopped because it is being deleted; {words}")


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
    where = describe_pods(pods)
    return f"did not stop in time: {where}. Its unfinished files are removed when the repository is next used"
