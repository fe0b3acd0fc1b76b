"""Following a Backup's worker: how far it is, how it ended, whether it is still there."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupDisk
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.cluster.kinds import JOB, POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_worker_pod
from sendense_operator.formatting import whole_seconds
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.backups.deadlines import node_lost, overrun, start_overdue
from sendense_operator.reconcile.backups.finish import complete, fail
from sendense_operator.reconcile.backups.progress import stopped_disks
from sendense_operator.reconcile.backups.status_changes import BackupChanges, changed_disk, changed_status
from sendense_operator.reconcile.backups.worker_polling import poll_worker
from sendense_operator.reconcile.state.context import BackupContext, RestorePointContext
from sendense_operator.reconcile.state.kubernetes_objects import began, is_deleting, pod_ip, worker_started
from sendense_operator.reconcile.workload.job_outcome import (
    AnswerLost,
    Died,
    Ended,
    Lingering,
    RunningAttempt,
    decide_lingering,
    observe_worker,
    still_there,
)
from sendense_operator.reconcile.workload.worker_pod import task_of

_JOB_GOES_POLL_S: Final = 1.0


async def follow_backup(ctx: BackupContext, backup: ObservedBackup, job: Obj) -> float | None:
    """Look at the worker; seconds until the next check."""
    listed = await ctx.cluster.list_objects(POD, backup.namespace, labels=backup.pods_selector)
    pods = [pod for pod in listed if is_worker_pod(pod)]
    seen = observe_worker(job, pods, ctx.watch_hints.answers.get(backup.uid))
    lingering = decide_lingering(job, pods, ctx.now()) if isinstance(seen, RunningAttempt) else None
    match lingering or seen:
        case Lingering() as found:
            return await _lingering(ctx, backup, found, _adopt(backup, job, found.pod, len(pods)))
        case Ended() as seen:
            return await _ended(ctx, backup, seen, _adopt(backup, job, seen.pod, len(pods)))
        case Died() as seen:
            return await _died(ctx, backup, job, seen, _adopt(backup, job, seen.pod, len(pods)))
        case AnswerLost() as seen:
            return await _answer_lost(ctx, backup, job, seen, _adopt(backup, job, seen.pod, len(pods)))
        case RunningAttempt() as seen:
            return await _attempt(ctx, backup, job, seen, _adopt(backup, job, seen.pod, len(pods)))


async def _ended(ctx: RestorePointContext, backup: ObservedBackup, seen: Ended, changes: BackupChanges) -> float | None:
    backup.status = changed_status(backup.status, changes)
    answer = seen.answer
    if answer is None:
        await fail(ctx, backup, seen.reason, seen.message)
    elif answer.outcome == "Completed":
        await complete(ctx, backup, answer)
    else:
        message = answer.message or f"the worker ended as {answer.outcome}"
        await fail(ctx, backup, answer.reason or "WorkerFailed", message, answer)
    return 0.0


async def _died(
    ctx: RestorePointContext, backup: ObservedBackup, job: Obj, seen: Died, changes: BackupChanges
) -> float | None:
    """Start one recovery attempt, since a worker that died may have committed; its own death is final."""
    task = task_of(job)
    if task is None or task.adopt_only:
        return await _ended(ctx, backup, Ended(None, "WorkerDied", backup.status.worker_death or seen.message), changes)
    return await _look(ctx, backup, job, seen.message, changes)


async def _answer_lost(
    ctx: RestorePointContext, backup: ObservedBackup, job: Obj, seen: AnswerLost, changes: BackupChanges
) -> float | None:
    """Start recovery attempts until one answers or the deadline passes: the worker that succeeded has committed.

    They copy nothing either. Should the manifest have gone meanwhile, that is to be reported, not to be papered over by
    another copy, for which vCenter would be needed too.
    """
    if task_of(job) is None:
        return await _ended(ctx, backup, Ended(None, "WorkerDied", seen.message), changes)
    return await _look(ctx, backup, job, seen.message, changes)


async def _look(
    ctx: RestorePointContext, backup: ObservedBackup, job: Obj, death: str, changes: BackupChanges
) -> float:
    """Make the Job once more: its worker finds the manifest, if there is one, and answers from it."""
    # In the status before the Job goes: the next one is made by it, and an end that finds nothing tells it.
    changes = {
        "worker_death": backup.status.worker_death or death[:1024],
        "start_time": backup.status.start_time or whole_seconds(began(job)),
        **changes,
    }
    state = conditions.reconciling("Recovering", f"{death}; a recovery attempt finds out whether it had committed")
    await publish(ctx, backup, state, urgent=True, **changes)
    if not is_deleting(job):
        await ctx.events.post(
            backup.obj, "Warning", "AnswerLost", "the worker's answer is lost: a recovery attempt reads the repository"
        )
        await ctx.cluster.delete(JOB, backup.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"])
    return _JOB_GOES_POLL_S


async def _attempt(
    ctx: BackupContext, backup: ObservedBackup, job: Obj, seen: RunningAttempt, changes: BackupChanges
) -> float | None:
    pod = seen.pod
    if await overrun(ctx, backup, pod):
        return 0.0
    if pod is None:
        return await _without_pod(ctx, backup, job, seen)
    if (changes.get("attempts") or 1) > 1:
        await _new_attempt(ctx, backup, seen, changes)
        changes = {"node_name": changes["node_name"]}
    if seen.trouble is not None:
        return await _not_starting(ctx, backup, seen.trouble, changes)
    address = pod_ip(pod)
    if address is None or is_deleting(pod):
        if await node_lost(ctx, backup, pod) or await start_overdue(ctx, backup, "its pod does not get ready to run"):
            return 0.0
        rest = await publish(ctx, backup, _waiting_state(backup, seen), **changes)
        return rest or ctx.settings.poll_seconds
    changes["start_time"] = backup.status.start_time or whole_seconds(worker_started(pod) or ctx.now())
    return await poll_worker(ctx, backup, pod, address, changes)


async def _lingering(
    ctx: RestorePointContext, backup: ObservedBackup, seen: Lingering, changes: BackupChanges
) -> float:
    """Delete the pod, so that the Job sees the worker's end and goes on."""
    reason = "Ending" if seen.is_last else _again(backup)
    await publish(ctx, backup, conditions.reconciling(reason, seen.message), urgent=True, **changes)
    if await overrun(ctx, backup, seen.pod) or await node_lost(ctx, backup, seen.pod):
        return 0.0
    if not is_deleting(seen.pod):
        meta = seen.pod["metadata"]
        await ctx.cluster.delete(POD, backup.namespace, meta["name"], uid=meta["uid"])
    return _JOB_GOES_POLL_S


async def _new_attempt(
    ctx: RestorePointContext, backup: ObservedBackup, seen: RunningAttempt, changes: BackupChanges
) -> None:
    """Another pod: its progress begins anew."""
    why = seen.failed_before or "the worker before it is gone"
    known = changes.get("disks", backup.status.disks)
    disks = [changed_disk(disk, received_bytes=0, percent=0) for disk in stopped_disks(known)]
    state = conditions.reconciling(_again(backup), f"the attempt before: {why}")
    begun: BackupChanges = {**changes, "progress": None, "disks": disks, "last_failure": why[:1024]}
    await publish(ctx, backup, state, urgent=True, **begun)
    await ctx.events.post(backup.obj, "Warning", _again(backup), f"attempt {changes['attempts']}: {why}")


def _again(backup: ObservedBackup) -> str:
    """Return the reason while another worker is to come: a retry only where spec.retries has it.

    Evicted pods and removed Jobs are replaced in any case, and a lost answer is read again.
    """
    return "Retrying" if backup.spec.retries and not backup.only_looks else "Recovering"


def _adopt(backup: ObservedBackup, job: Obj, pod: Obj | None, pods: int) -> BackupChanges:
    """Return what the status still has to learn of a Job and of its newest pod."""
    return {**_adopt_job(backup, job), **(_adopt_pod(backup, pod, pods) if pod is not None else {})}


def _adopt_job(backup: ObservedBackup, job: Obj) -> BackupChanges:
    """Return what the status lacks of a Job: the controller that made it may have died before writing."""
    if backup.status.worker_job is not None:
        return {}
    changes: BackupChanges = {
        "worker_job": backup.job_name,
        "chain_name": backup.chain_key.object_name,
    }
    task = task_of(job)
    if task is not None:
        changes["vm_name"] = names.last_path_element(task.appliance.vm_path)[:1024]
        changes["repository_id"] = task.repository_id
        changes["disks"] = backup.status.disks or [
            BackupDisk(index=disk.index, key=disk.key, virtual_size=disk.virtual_size) for disk in task.disks
        ]
    return changes


def _adopt_pod(backup: ObservedBackup, pod: Obj, pods: int) -> BackupChanges:
    """Return the status changes for a new pod. Several may have come since the last reconcile."""
    job_id = names.vma_job_id(pod["metadata"]["uid"])
    changes: BackupChanges = {"node_name": pod["spec"].get("nodeName") or backup.status.node_name}
    # One that only looks is no attempt, and has no job of the VMA.
    if backup.status.job_id != job_id and not backup.only_looks:
        changes["job_id"] = job_id
        changes["attempts"] = max((backup.status.attempts or 0) + 1, pods)
    return changes


async def _without_pod(
    ctx: RestorePointContext, backup: ObservedBackup, job: Obj, seen: RunningAttempt
) -> float | None:
    if is_deleting(job):
        await publish(ctx, backup, conditions.reconciling(_again(backup), "the worker's Job is being removed"))
        return _JOB_GOES_POLL_S
    if await start_overdue(ctx, backup, "its Job has no pod"):
        return 0.0
    rest = await publish(ctx, backup, _waiting_state(backup, seen), **_adopt_job(backup, job))
    return rest or ctx.settings.poll_seconds


def _waiting_state(backup: ObservedBackup, seen: RunningAttempt) -> State:
    if seen.is_last:
        return conditions.reconciling("Ending", f"the worker has ended: {seen.failed_before}")
    if seen.failed_before:
        return conditions.reconciling(_again(backup), f"the attempt before: {seen.failed_before}")
    if backup.status.start_time is not None:
        return conditions.reconciling(_again(backup), "the worker's pod is being replaced")
    return conditions.reconciling("Starting", "the worker's pod is being started")


async def _not_starting(
    ctx: RestorePointContext, backup: ObservedBackup, trouble: tuple[str, str], changes: BackupChanges
) -> float | None:
    reason, words = trouble
    if await start_overdue(ctx, backup, f"{reason}: {words}"):
        return 0.0
    message = f"the worker's pod does not start: {words}"
    if backup.status.start_time is not None:
        reason, message = _again(backup), f"{reason}: {message}"
    rest = await publish(ctx, backup, conditions.reconciling(reason, message), **changes)
    return rest or ctx.settings.poll_seconds


async def wait_for_old_pods(ctx: RestorePointContext, backup: ObservedBackup) -> float | None:
    """Return seconds to wait for the pods of a Job that has gone; None when none is left. One writer at a time."""
    if backup.status.worker_job is None:
        return None
    pods = await ctx.cluster.list_objects(POD, backup.namespace, labels=backup.pods_selector)
    left = still_there(pods)
    if not left:
        return None
    if await node_lost(ctx, backup, left[0]):
        return 0.0
    state = conditions.reconciling(_again(backup), "the worker before is being stopped")
    await publish(ctx, backup, state)
    return _JOB_GOES_POLL_S
