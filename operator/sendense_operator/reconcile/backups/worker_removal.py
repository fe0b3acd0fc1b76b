"""What is removed of a worker once its Backup has ended."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, JOB, NETWORK_POLICY, POD, SERVICE
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import change_finalizers, has_finalizer
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, label
from sendense_operator.reconcile.backups.finish import UNSEEN_REASONS
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_live, is_owned_by
from sendense_operator.reconcile.state.observed_run import acknowledge
from sendense_operator.reconcile.workload.job_outcome import LINGER_S, still_there
from sendense_operator.reconcile.workload.worker_job import TTL_SECONDS

STOP_POLL_S: Final = 1.0
"""Between two checks whether a worker has stopped."""


async def remove_workload(ctx: ReconcileContext, backup: ObservedBackup) -> float | None:
    """After the end is in the status: let the Job go, free the ports, keep labels, finalizers and generation."""
    if has_finalizer(backup.obj, names.FINALIZER):
        rest = await _tidy_worker(ctx, backup)
        if rest is not None:
            return rest
    await label(ctx, backup)
    add, remove = decide_finalizers(backup)
    backup.obj = await change_finalizers(ctx.cluster, BACKUP, backup.obj, add=add, remove=remove)
    backup.status = await acknowledge(ctx, BACKUP, backup.obj, backup.status)
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
    job = await own_job(ctx, backup)
    live = job is not None and is_live(job)
    if job is not None and live:
        ended = backup.status.completion_time or ctx.now()
        if backup.status.phase is Phase.COMPLETED and (ctx.now() - ended).total_seconds() < LINGER_S:
            return STOP_POLL_S  # its pod has answered, the Job will notice in a moment, unless others keep it running
        if not is_deleting(job):
            await stop_job(ctx, backup, job)
    elif job is not None and not job["spec"].get("ttlSecondsAfterFinished"):
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"ttlSecondsAfterFinished": TTL_SECONDS}}
        await ctx.cluster.merge_patch(JOB, backup.namespace, backup.job_name, patch)
    # A Job that is being deleted in the foreground is live until its last pod is gone.
    left = live or bool(still_there(await pods_of(ctx, backup)))
    ended = backup.status.completion_time or ctx.now()
    if left and (ctx.now() - ended).total_seconds() < ctx.settings.cancel_seconds:
        return STOP_POLL_S
    await ctx.cluster.delete(SERVICE, backup.namespace, backup.service_name)
    if not left:
        await ctx.cluster.delete(NETWORK_POLICY, backup.namespace, backup.job_name)
    return None


async def pods_of(ctx: ReconcileContext, backup: ObservedBackup) -> list[Obj]:
    """Return all pods of the Backup's worker. Raises ClusterError."""
    return await ctx.cluster.list_objects(POD, backup.namespace, labels=backup.pods_selector)


async def own_job(ctx: ReconcileContext, backup: ObservedBackup) -> Obj | None:
    """Return the worker's Job, if it was made for this Backup. Raises ClusterError."""
    job = await find(ctx.cluster, JOB, backup.namespace, backup.job_name)
    return job if job is not None and is_owned_by(job, backup.obj) else None


async def stop_job(ctx: ReconcileContext, backup: ObservedBackup, job: Obj) -> None:
    """Delete the Job in the foreground: it stays, and holds its VM and its slot, until its pods are gone."""
    await ctx.cluster.delete(
        JOB, backup.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"], propagation="Foreground"
    )
