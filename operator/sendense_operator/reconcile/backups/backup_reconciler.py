"""Backup: observe, decide, act. The order of the questions is the order in which they overrule each other."""

from __future__ import annotations

from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, JOB
from sendense_operator.reconcile.backups.adoption import reconcile_adopted
from sendense_operator.reconcile.backups.backup_status import Case
from sendense_operator.reconcile.backups.finish import cancel, cancelled, finish_deletion, remove_workload
from sendense_operator.reconcile.backups.start import overdue, start_backup, wait_or_fail
from sendense_operator.reconcile.backups.worker_following import follow_backup, wait_for_old_pods
from sendense_operator.reconcile.state.context import Context
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_owned_by
from sendense_operator.reconcile.state.problem import Problem


async def reconcile_backup(ctx: Context, namespace: str, name: str) -> float | None:
    """Take a Backup one step further; seconds until the next check, None when an event will tell."""
    obj = await find(ctx.cluster, BACKUP, namespace, name)
    if obj is None:
        return None
    case = Case.of(obj)
    if ctx.memory.first_seen.get(case.uid) is None:
        ctx.memory.first_seen.put(case.uid, ctx.monotonic())
    if is_deleting(obj):
        return await finish_deletion(ctx, case)
    if case.is_over:
        return await remove_workload(ctx, case)
    if case.copies_nothing and case.spec.cancel:
        await cancelled(ctx, case, "cancelled by spec.cancel before its restore point was found")
        return 0.0
    if case.copies_nothing:
        return await reconcile_adopted(ctx, case)
    # The deterministic name comes first: a worker that is there is followed, whatever else has changed.
    job = await find(ctx.cluster, JOB, namespace, case.job_name)
    if job is not None and not is_owned_by(job, obj):
        text = f"a Job {case.job_name} is there that belongs to something else"
        return await wait_or_fail(ctx, case, overdue(ctx, case) or Problem("JobNameTaken", text))
    if case.spec.cancel:
        return await cancel(ctx, case, job)
    if job is None:
        if over := overdue(ctx, case):
            return await wait_or_fail(ctx, case, over)
        rest = await wait_for_old_pods(ctx, case)
        return rest if rest is not None else await start_backup(ctx, case)
    return await follow_backup(ctx, case, job)
