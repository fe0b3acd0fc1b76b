"""How a Backup ends: completed, failed, cancelled, deleted; and what is tidied up afterwards."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.client import Obj, find
from sendense_operator.cluster.kinds import BACKUP, JOB, NETWORK_POLICY, POD, SERVICE
from sendense_operator.cluster.status import has_finalizer, remove_finalizer
from sendense_operator.reconcile.case import Case, label, publish
from sendense_operator.reconcile.context import Context
from sendense_operator.reconcile.job import TTL_SECONDS
from sendense_operator.reconcile.keys import Key, Work
from sendense_operator.reconcile.objects import is_deleting, is_live, is_owned_by
from sendense_operator.reconcile.outcome import last_answer, still_there
from sendense_operator.reconcile.progress import final_disks, final_progress, stopped_progress
from sendense_operator.reconcile.units import human_bytes, parse_time, whole_seconds
from sendense_operator.task import Answer

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
"""Failures after which the repository is looked at."""
_STOP_POLL_S: Final = 1.0


async def complete(ctx: Context, case: Case, answer: Answer) -> None:
    """The backup is committed: record what the worker answered."""
    stored = sum(disk.stored for disk in answer.disks)
    total = sum(disk.virtual_size for disk in answer.disks)
    count = len(answer.disks)
    how = "found committed by an earlier attempt" if answer.adopted else "committed"
    text = f"{count} {'disk' if count == 1 else 'disks'}, {human_bytes(total)}, {how}; {human_bytes(stored)} stored"
    now = ctx.now()
    await publish(
        ctx,
        case,
        conditions.ready("Committed", text),
        disks=final_disks(answer),
        progress=final_progress(answer, now),
        stored_bytes=stored,
        stored=human_bytes(stored),
        manifest=answer.manifest or None,
        repository_id=answer.repository_id or case.status.repository_id,
        start_time=case.status.start_time or whole_seconds(answer.started or now),
        # Of the attempt that wrote it, which is not the last one when its answer was lost.
        job_id=answer.job_id or case.status.job_id,
    )
    _after(ctx, case, answer)


async def fail(ctx: Context, case: Case, reason: str, message: str, answer: Answer | None = None) -> None:
    """It will not become a restore point."""
    death = case.status.worker_death
    if death is not None and death not in message:
        message = f"{death}; {message}"
    await publish(ctx, case, conditions.stalled(reason, message), progress=stopped_progress(case.status.progress))
    if reason in REPOSITORY_REASONS:
        ctx.memory.probe_wanted.add(f"{case.namespace}/{case.spec.repository_ref.name}")
    _after(ctx, case, answer)


async def cancelled(ctx: Context, case: Case, message: str) -> None:
    """It was stopped because somebody wanted that."""
    await publish(
        ctx,
        case,
        conditions.stalled(conditions.REASON_CANCELLED, message),
        progress=stopped_progress(case.status.progress),
    )
    _after(ctx, case, None)


def _after(ctx: Context, case: Case, answer: Answer | None) -> None:
    repository = case.spec.repository_ref.name
    if answer is not None and answer.capacity is not None:
        ctx.memory.capacities.put(f"{case.namespace}/{repository}", answer.capacity)
    ctx.memory.answers.pop(case.uid)
    ctx.again(Key(Work.REPOSITORY, case.namespace, repository))
    if case.status.phase is Phase.COMPLETED:
        ctx.again(chain_key(case))


def chain_key(case: Case) -> Key:
    """The chain that the Backup belongs to."""
    return Key(Work.CHAIN, case.namespace, f"{case.spec.vm_ref.name}/{case.spec.repository_ref.name}")


async def tidy(ctx: Context, case: Case) -> float | None:
    """After the end is in the status: let the Job go, free the ports, take the finalizer off.

    The finalizer says whether anything is left to do: without it a finished Backup costs nothing.
    """
    if not has_finalizer(case.obj, names.FINALIZER):
        return None
    job = await _own_job(ctx, case)
    if job is not None and is_live(job):
        if case.status.phase is Phase.COMPLETED:
            return _STOP_POLL_S  # its pod has answered, the Job will notice in a moment
        if not is_deleting(job):
            await _stop(ctx, case, job)
    elif job is not None and not job["spec"].get("ttlSecondsAfterFinished"):
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"ttlSecondsAfterFinished": TTL_SECONDS}}
        await ctx.cluster.merge_patch(JOB, case.namespace, case.job_name, patch)
    await ctx.cluster.delete(SERVICE, case.namespace, case.job_name)
    await ctx.cluster.delete(NETWORK_POLICY, case.namespace, case.job_name)
    await label(ctx, case)
    await remove_finalizer(ctx.cluster, BACKUP, case.obj, names.FINALIZER)
    return None


async def cancel(ctx: Context, case: Case, job: Obj | None) -> float | None:
    """`spec.cancel` is set: stop the worker and wait for it, within bounds."""
    pods = await ctx.cluster.list_objects(POD, case.namespace, labels=case.pods_selector)
    answer = last_answer(pods) or ctx.memory.answers.get(case.uid)
    if answer is not None and answer.outcome == "Completed":
        await complete(ctx, case, answer)  # it was faster
        return 0.0
    left = still_there(pods)
    if job is not None and is_live(job) and not is_deleting(job):
        await _stop(ctx, case, job)
        state = conditions.reconciling("Cancelling", "the worker was told to stop")
        await publish(ctx, case, state, urgent=True)
        return _STOP_POLL_S
    if left and not _waited_enough(ctx, job, left):
        return _STOP_POLL_S
    if not left:
        await cancelled(ctx, case, "cancelled by spec.cancel")
    else:
        await cancelled(ctx, case, f"cancelled by spec.cancel; {_left_behind(left)}")
    return 0.0


async def delete(ctx: Context, case: Case) -> float | None:
    """The Backup is being deleted: stop its worker, wait for it within bounds, let the object go."""
    if not has_finalizer(case.obj, names.FINALIZER):
        return None
    job = await _own_job(ctx, case)
    if job is not None and is_live(job) and not is_deleting(job):
        await _stop(ctx, case, job)
    pods = await ctx.cluster.list_objects(POD, case.namespace, labels=case.pods_selector)
    left = still_there(pods)
    if left:
        asked = parse_time(case.obj["metadata"]["deletionTimestamp"]) or ctx.now()
        if (ctx.now() - asked).total_seconds() < ctx.settings.cancel_seconds:
            if case.status.phase is not Phase.DELETING and not case.is_over:
                state = conditions.reconciling(conditions.REASON_DELETING, "the worker was told to stop")
                await publish(ctx, case, state)
            return _STOP_POLL_S
        await ctx.events.post(case.obj, "Warning", "WorkerLeftBehind", _left_behind(left))
    fresh = await find(ctx.cluster, BACKUP, case.namespace, case.name)
    if fresh is not None and fresh["metadata"]["uid"] == case.uid:
        await remove_finalizer(ctx.cluster, BACKUP, fresh, names.FINALIZER)
    return None


async def _own_job(ctx: Context, case: Case) -> Obj | None:
    job = await find(ctx.cluster, JOB, case.namespace, case.job_name)
    return job if job is not None and is_owned_by(job, case.obj) else None


async def _stop(ctx: Context, case: Case, job: Obj) -> None:
    """Foreground: the Job stays, and holds its VM and its slot, until its pods are gone."""
    await ctx.cluster.delete(
        JOB, case.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"], propagation="Foreground"
    )


def _waited_enough(ctx: Context, job: Obj | None, left: list[Obj]) -> bool:
    stamps = [obj["metadata"].get("deletionTimestamp") for obj in ([job] if job else []) + left]
    moments = [moment for moment in map(parse_time, stamps) if moment is not None]
    if not moments:
        return False
    return (ctx.now() - min(moments)).total_seconds() > ctx.settings.cancel_seconds


def _left_behind(pods: list[Obj]) -> str:
    where = ", ".join(
        sorted(f"{pod['metadata']['name']} on {pod['spec'].get('nodeName') or 'no node'}" for pod in pods)
    )
    return f"did not stop in time: {where}. Its unfinished files are removed when the repository is next used"
