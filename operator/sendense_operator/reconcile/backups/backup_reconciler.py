"""Backup: observe, decide, act. The order of the questions is the order in which they overrule each other."""

from __future__ import annotations

from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, JOB
from sendense_operator.reconcile.backups.adoption import reconcile_adopted
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.cancellation import cancel, finish_deletion
from sendense_operator.reconcile.backups.finish import cancelled
from sendense_operator.reconcile.backups.start import overdue, start_backup, wait_or_fail
from sendense_operator.reconcile.backups.worker_following import follow_backup, wait_for_old_pods
from sendense_operator.reconcile.backups.worker_removal import remove_workload
from sendense_operator.reconcile.state.context import BackupContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_owned_by
from sendense_operator.reconcile.state.problem import Problem


async def reconcile_backup(ctx: BackupContext, namespace: str, name: str) -> float | None:
    """Take a Backup one step further; seconds until the next check, None when an event will tell."""
    obj = await find(ctx.cluster, BACKUP, namespace, name)
    if obj is None:
        return None
    backup = ObservedBackup.of(obj)
    if ctx.backup_hints.first_seen.get(backup.uid) is None:
        ctx.backup_hints.first_seen.put(backup.uid, ctx.monotonic())
    if is_deleting(obj):
        return await finish_deletion(ctx, backup)
    if backup.is_over:
        return await remove_workload(ctx, backup)
    if backup.copies_nothing and backup.spec.cancel:
        await cancelled(ctx, backup, "cancelled by spec.cancel before its restore point was found")
        return 0.0
    if backup.copies_nothing:
        return await reconcile_adopted(ctx, backup)
    # The deterministic name comes first: a worker that is there is followed, whatever else has changed.
    job = await find(ctx.cluster, JOB, namespace, backup.job_name)
    if job is not None and not is_owned_by(job, obj):
        text = f"a Job {backup.job_name} is there that belongs to something else"
        return await wait_or_fail(ctx, backup, overdue(ctx, backup) or Problem("JobNameTaken", text))
    if backup.spec.cancel:
        return await cancel(ctx, backup, job)
    if job is None:
        if over := overdue(ctx, backup):
            return await wait_or_fail(ctx, backup, over)
        rest = await wait_for_old_pods(ctx, backup)
        return rest if rest is not None else await start_backup(ctx, backup)
    return await follow_backup(ctx, backup, job)
