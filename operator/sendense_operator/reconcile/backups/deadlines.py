"""When a worker is given up: it does not start, it does not end, or its node is lost. Then its Backup has failed."""

from __future__ import annotations

from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.finish import fail
from sendense_operator.reconcile.state.context import RestorePointContext
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.workload.run_deadlines import find_lost_node


async def start_overdue(ctx: RestorePointContext, backup: ObservedBackup, why: str) -> bool:
    """Return whether the first worker did not start in time; then the Backup has failed."""
    # The Job is deleted by `tidy`, once the end is in the status.
    return await _failed(ctx, backup, backup.deadlines.start_overdue(ctx.now(), why))


async def overrun(ctx: RestorePointContext, backup: ObservedBackup, pod: Obj | None) -> bool:
    """Return whether even the Job's own deadline could not stop the worker; then the Backup has failed.

    Its Job stays, and with it the VM's turn: who does not stop may still write.
    """
    return await _failed(ctx, backup, backup.deadlines.overrun(ctx.now(), pod))


async def node_lost(ctx: RestorePointContext, backup: ObservedBackup, pod: Obj) -> bool:
    """Return whether the worker's node has been away for too long; then the Backup has failed."""
    found = await find_lost_node(ctx, pod)
    return await _failed(ctx, backup, Problem("NodeLost", found.message) if found is not None else None)


async def _failed(ctx: RestorePointContext, backup: ObservedBackup, problem: Problem | None) -> bool:
    if problem is not None:
        await fail(ctx, backup, problem.reason, problem.message)
    return problem is not None
