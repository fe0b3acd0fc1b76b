"""Progress of a running worker, as it reports it over HTTP."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import RequestedType
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.backups.deadlines import node_lost
from sendense_operator.reconcile.backups.progress import STAGE_MESSAGES, merge_disks, merge_progress
from sendense_operator.reconcile.backups.status_changes import BackupChanges
from sendense_operator.reconcile.state.context import BackupContext, RestorePointContext
from sendense_operator.reconcile.state.kubernetes_objects import labels_of
from sendense_operator.reconcile.state.unrouted_calls import describe_call
from sendense_operator.task import Progress, Stage

_FIRST_POLL_S: Final = 1.0
"""Seconds between two requests to a worker that has not answered yet."""
_UNREACHABLE_AFTER_S: Final = 30.0


async def poll_worker(
    ctx: BackupContext, backup: ObservedBackup, pod: Obj, address: str, changes: BackupChanges
) -> float | None:
    """Read the progress of a running worker, at most once in `poll_seconds`; return seconds until the next check."""
    uid = pod["metadata"]["uid"]
    reached = ctx.backup_hints.reached.get(uid)
    pause = ctx.settings.poll_seconds if reached is not None else _FIRST_POLL_S
    last = ctx.backup_hints.polled.get(uid)
    if last is not None and (rest := last + pause - ctx.monotonic()) > 0:
        return rest
    ctx.backup_hints.polled.put(uid, ctx.monotonic())
    report = await ctx.workers.progress(address)
    if report is not None:
        ctx.backup_hints.reached.put(uid, ctx.monotonic())
        rest = await _report(ctx, backup, report, pod, changes)
        return rest or ctx.settings.poll_seconds
    if await node_lost(ctx, backup, pod):
        return 0.0
    since = reached if reached is not None else _first_asked(ctx, uid)
    if ctx.monotonic() - since > _UNREACHABLE_AFTER_S:
        node = pod["spec"].get("nodeName")
        state = conditions.reconciling("Unreachable", f"the worker on node {node} does not answer; its copy may go on")
    elif backup.status.stage is None:
        state = conditions.reconciling("Starting", "the worker has started")
    else:
        return pause
    kept: BackupChanges = {**changes, "stage": backup.status.stage}
    rest = await publish(ctx, backup, state, **kept)
    return rest or (ctx.settings.poll_seconds if reached is not None else _FIRST_POLL_S)


def _first_asked(ctx: RestorePointContext, pod_uid: str) -> float:
    """Return when this worker was asked for the first time, in vain."""
    first = ctx.backup_hints.first_polled.get(pod_uid)
    if first is None:
        first = ctx.monotonic()
        ctx.backup_hints.first_polled.put(pod_uid, first)
    return first


async def _report(
    ctx: BackupContext, backup: ObservedBackup, report: Progress, pod: Obj, changes: BackupChanges
) -> float:
    pod_uid = pod["metadata"]["uid"]
    whole = backup.spec.type is RequestedType.FULL
    disks = merge_disks(changes.get("disks", backup.status.disks), report, whole=whole)
    progress = merge_progress(backup.status.progress, disks, report, whole=whole, now=ctx.now())
    # The worker is through, its pod not yet: what it says then is its answer.
    stage = Stage.COMMITTING if report.stage is Stage.DONE else report.stage
    message = report.message or STAGE_MESSAGES[stage]
    # Without its callbacks this copy comes to nothing. Where they arrive only the gateways know.
    place = ObjectKey(backup.namespace, labels_of(pod).get(names.LABEL_APPLIANCE, ""))
    ctx.unrouted_calls.note_silence(place, pod_uid, report.callbacks_missing, ctx.monotonic())
    stray = ctx.unrouted_calls.call_of_pod(pod_uid)
    reason = stage.value if stray is None else conditions.REASON_CALLBACKS_ELSEWHERE
    state = conditions.reconciling(reason, message if stray is None else describe_call(stray))
    seen: BackupChanges = {**changes, "stage": stage, "disks": disks, "progress": progress}
    return await publish(ctx, backup, state, **seen)
