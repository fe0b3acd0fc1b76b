"""When a worker is given up: it does not start, it does not end, or its node is lost. Then its Backup has failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import NODE
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.finish import fail
from sendense_operator.reconcile.state.context import RestorePointContext
from sendense_operator.reconcile.state.kubernetes_objects import created
from sendense_operator.reconcile.workload.job_outcome import decide_lost

_OVERRUN_S: Final = 120.0
"""Beyond the time that the Job may take; by then it has long ended, unless its pod does not stop."""


async def start_overdue(ctx: RestorePointContext, backup: ObservedBackup, why: str) -> bool:
    """Return whether the first worker did not start in time; then the Backup has failed."""
    deadline = created(backup.obj) + timedelta(seconds=backup.spec.start_deadline_seconds)
    if backup.status.start_time is not None or ctx.now() <= deadline:
        return False
    seconds = backup.spec.start_deadline_seconds
    text = f"no worker ran within spec.startDeadlineSeconds ({seconds} s): {why}"
    # The Job is deleted by `tidy`, once the end is in the status.
    await fail(ctx, backup, "StartDeadlineExceeded", text)
    return True


async def overrun(ctx: RestorePointContext, backup: ObservedBackup, pod: Obj | None) -> bool:
    """Return whether even the Job's own deadline could not stop the worker; then the Backup has failed.

    Its Job stays, and with it the VM's turn: who does not stop may still write.
    """
    limit = timedelta(seconds=backup.spec.active_deadline_seconds + _OVERRUN_S)
    if backup.status.start_time is None or ctx.now() - backup.status.start_time <= limit:
        return False
    where = f"pod {pod['metadata']['name']} on node {pod['spec'].get('nodeName')}" if pod else "its Job"
    text = f"it took longer than spec.activeDeadlineSeconds allows, and {where} does not stop"
    await fail(ctx, backup, "ActiveDeadlineExceeded", text)
    return True


async def node_lost(ctx: RestorePointContext, backup: ObservedBackup, pod: Obj) -> bool:
    """Return whether the worker's node has been away for too long; then the Backup has failed."""
    name = pod["spec"].get("nodeName")
    if not name:
        return False
    try:
        node = await find(ctx.cluster, NODE, None, name)
    except ForbiddenError:
        return False
    found = decide_lost(pod, node, ctx.now(), ctx.settings.node_lost_seconds)
    if found is None:
        return False
    await fail(ctx, backup, "NodeLost", found.message)
    return True
