"""Restore: observe, decide, act. The order of the questions is the order in which they overrule each other."""

from __future__ import annotations

from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB, RESTORE
from sendense_operator.reconcile.restores.restore_end import cancel, finish_deletion, remove_worker
from sendense_operator.reconcile.restores.restore_following import follow_restore, wait_for_old_pods
from sendense_operator.reconcile.restores.restore_start import overdue, start_restore, wait_or_fail
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import RestoreContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_owned_by
from sendense_operator.reconcile.state.problem import Problem


async def reconcile_restore(ctx: RestoreContext, namespace: str, name: str) -> float | None:
    """Take a Restore one step further; seconds until the next check, None when an event will tell."""
    obj = await find(ctx.cluster, RESTORE, namespace, name)
    if obj is None:
        return None
    restore = ObservedRestore.of(obj)
    if is_deleting(obj):
        return await finish_deletion(ctx, restore)
    if restore.is_over:
        return await remove_worker(ctx, restore)
    # The deterministic name comes first: a worker that is there is followed, whatever else has changed.
    job = await find(ctx.cluster, JOB, namespace, restore.job_name)
    if job is not None and not is_owned_by(job, obj):
        text = f"a Job {restore.job_name} is there that belongs to something else"
        return await wait_or_fail(ctx, restore, overdue(ctx, restore) or Problem("JobNameTaken", text))
    if restore.spec.cancel:
        return await cancel(ctx, restore, job)
    if job is not None:
        return await follow_restore(ctx, restore, job)
    if (over := overdue(ctx, restore)) is not None:
        return await wait_or_fail(ctx, restore, over)
    rest = await wait_for_old_pods(ctx, restore)
    return rest if rest is not None else await start_restore(ctx, restore)
