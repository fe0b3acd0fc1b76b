"""Following the worker of a Restore: how far it is, how it ended, whether it is still there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.cluster.kinds import JOB, POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_pod_of
from sendense_operator.formatting import human_count, whole_seconds
from sendense_operator.reconcile.restores.export_key import key_secret_name
from sendense_operator.reconcile.restores.restore_end import complete, fail, pods_of, stopped_disks
from sendense_operator.reconcile.restores.restore_progress import merge_disks, merge_progress, message_of
from sendense_operator.reconcile.restores.restore_sender import find_sender_problem
from sendense_operator.reconcile.restores.restore_status import ObservedRestore, RestoreChanges, publish
from sendense_operator.reconcile.state.context import RestoreContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, newest, pod_ip, worker_started
from sendense_operator.reconcile.state.problem import Problem
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
from sendense_operator.reconcile.workload.run_deadlines import find_lost_node
from sendense_operator.reconcile.workload.worker_network import restored_uri
from sendense_operator.task import Stage

_JOB_GOES_POLL_S: Final = 1.0
_UNREACHABLE_AFTER_S: Final = 30.0


async def follow_restore(ctx: RestoreContext, restore: ObservedRestore, job: Obj) -> float | None:
    """Take in what the worker does; return seconds until the next check."""
    pods = [pod for pod in await pods_of(ctx, restore) if is_pod_of(pod, job)]
    seen = observe_worker(job, pods, ctx.watch_hints.answers.get(job["metadata"]["uid"]))
    lingering = decide_lingering(job, pods, ctx.now()) if isinstance(seen, RunningAttempt) else None
    match lingering or seen:
        case Lingering() as found:
            return await _lingering(ctx, restore, found)
        case Ended() as found:
            await _note_last_pod(ctx, restore, pods)
            return await _ended(ctx, restore, found)
        case Died() as found:
            await fail(ctx, restore, "WorkerDied", found.message)
            return 0.0
        case AnswerLost() as found:
            return await _again(ctx, restore, job, found)
        case RunningAttempt() as found:
            return await _attempt(ctx, restore, job, found)


async def _note_last_pod(ctx: RestoreContext, restore: ObservedRestore, pods: Sequence[Obj]) -> None:
    """Count a pod that was started and ended between two checks."""
    pod = newest(pods)
    if pod is not None and pod["metadata"]["uid"] != restore.status.pod_uid:
        state = conditions.reconciling("Ending", "the worker has ended")
        await publish(ctx, restore, state, urgent=True, **_adopt_pod(restore, pod))


async def _ended(ctx: RestoreContext, restore: ObservedRestore, seen: Ended) -> float:
    answer = seen.answer
    if answer is None:
        await fail(ctx, restore, seen.reason, seen.message)
    elif answer.outcome == "Completed":
        problem = await complete(ctx, restore, answer)
        return await _without_machine(ctx, restore, problem) if problem is not None else 0.0
    else:
        message = answer.message or f"the worker ended as {answer.outcome}"
        await fail(ctx, restore, answer.reason or "WorkerFailed", message)
    return 0.0


async def _without_machine(ctx: RestoreContext, restore: ObservedRestore, problem: Problem) -> float:
    """Wait for what keeps the VirtualMachine of restored disks from being made, until the active deadline."""
    text = f"all disks are restored, but their VirtualMachine is not created: {problem.reason}: {problem.message}"
    if restore.status.start_time is not None and restore.deadlines.overdue(ctx.now(), None) is not None:
        over = f"{text}; it took longer than spec.activeDeadlineSeconds allows"
        await fail(ctx, restore, problem.reason, over)
        return 0.0
    state = conditions.reconciling(conditions.REASON_NO_MACHINE, text)
    started = restore.status.start_time or whole_seconds(ctx.now())
    await publish(ctx, restore, state, start_time=started)
    return ctx.settings.wait_poll_seconds


async def _again(ctx: RestoreContext, restore: ObservedRestore, job: Obj, seen: AnswerLost) -> float:
    """Make the Job once more: its worker finds the finished images, and reads them back."""
    state = conditions.reconciling("Recovering", f"{seen.message}: another worker reads the targets")
    await publish(ctx, restore, state, urgent=True, last_failure=f"AnswerLost: {seen.message}")
    if not is_deleting(job):
        meta = job["metadata"]
        await ctx.cluster.delete(JOB, restore.namespace, meta["name"], uid=meta["uid"])
    return _JOB_GOES_POLL_S


async def _lingering(ctx: RestoreContext, restore: ObservedRestore, seen: Lingering) -> float:
    """Delete a pod that other containers keep running, so that the Job sees the worker's end and goes on."""
    state = conditions.reconciling("Ending" if seen.is_last else "Retrying", seen.message)
    await publish(ctx, restore, state, urgent=True)
    if await _overrun(ctx, restore, seen.pod) or await _node_lost(ctx, restore, seen.pod):
        return 0.0
    if not is_deleting(seen.pod):
        meta = seen.pod["metadata"]
        await ctx.cluster.delete(POD, restore.namespace, meta["name"], uid=meta["uid"])
    return _JOB_GOES_POLL_S


async def _attempt(ctx: RestoreContext, restore: ObservedRestore, job: Obj, seen: RunningAttempt) -> float | None:
    if await _overrun(ctx, restore, seen.pod) or await _failed(ctx, restore, await find_sender_problem(ctx, restore)):
        return 0.0
    pod = seen.pod
    if pod is None:
        if await _start_overdue(ctx, restore, "its Job has no pod"):
            return 0.0
        return await _publish(ctx, restore, _waiting_state(restore, seen), {})
    changes = _adopt_pod(restore, pod)
    if (changes.get("attempts") or 1) > 1:
        await _new_attempt(ctx, restore, seen, changes)
    if seen.trouble is not None:
        reason, words = seen.trouble
        if await _start_overdue(ctx, restore, f"{reason}: {words}"):
            return 0.0
        text = f"the worker's pod does not start: {words}"
        started = restore.status.start_time is not None
        state = conditions.reconciling("Retrying" if started else reason, f"{reason}: {text}" if started else text)
        return await _publish(ctx, restore, state, changes)
    address = pod_ip(pod)
    if address is None or is_deleting(pod):
        if await _node_lost(ctx, restore, pod) or await _start_overdue(ctx, restore, "its pod does not get ready"):
            return 0.0
        return await _publish(ctx, restore, _waiting_state(restore, seen), changes)
    changes["start_time"] = restore.status.start_time or whole_seconds(worker_started(pod) or ctx.now())
    return await _poll(ctx, restore, pod, address, changes)


async def _publish(ctx: RestoreContext, restore: ObservedRestore, state: State, changes: RestoreChanges) -> float:
    changes["worker_job"] = restore.job_name
    rest = await publish(ctx, restore, state, **changes)
    return rest or ctx.settings.poll_seconds


def _adopt_pod(restore: ObservedRestore, pod: Obj) -> RestoreChanges:
    """Return the status changes for a new pod."""
    uid = pod["metadata"]["uid"]
    changes: RestoreChanges = {"node_name": pod["spec"].get("nodeName") or restore.status.node_name}
    if restore.status.pod_uid != uid:
        changes["pod_uid"] = uid
        changes["attempts"] = (restore.status.attempts or 0) + 1
    return changes


async def _new_attempt(
    ctx: RestoreContext, restore: ObservedRestore, seen: RunningAttempt, changes: RestoreChanges
) -> None:
    """Another pod: it continues the images, but its progress begins anew."""
    why = seen.failed_before or "the worker before it is gone"
    disks = stopped_disks(restore.status.disks)
    for disk in disks:
        disk.processed_bytes = disk.percent = 0
    state = conditions.reconciling("Retrying", f"the attempt before: {why}")
    begun: RestoreChanges = {**changes, "progress": None, "disks": disks, "last_failure": why[:1024]}
    await publish(ctx, restore, state, urgent=True, **begun)
    await ctx.events.post(restore.obj, "Warning", "Retrying", f"attempt {changes.get('attempts')}: {why}")


def _waiting_state(restore: ObservedRestore, seen: RunningAttempt) -> State:
    if seen.is_last:
        return conditions.reconciling("Ending", f"the worker has ended: {seen.failed_before}")
    if seen.failed_before:
        return conditions.reconciling("Retrying", f"the attempt before: {seen.failed_before}")
    if restore.status.start_time is not None:
        return conditions.reconciling("Retrying", "the worker's pod is being replaced")
    return conditions.reconciling("Starting", "the worker's pod is being started")


async def _poll(
    ctx: RestoreContext, restore: ObservedRestore, pod: Obj, address: str, changes: RestoreChanges
) -> float:
    """Read the progress of a running worker."""
    uid = pod["metadata"]["uid"]
    report = await ctx.workers.progress(address)
    if report is not None:
        ctx.restore_hints.reached.put(uid, ctx.monotonic())
        if report.stage is Stage.SERVING:
            return await _serving(ctx, restore, changes)
        disks = merge_disks(restore.status.disks, report)
        progress = merge_progress(restore.status.progress, disks, report, ctx.now())
        state = conditions.reconciling(report.stage.value, message_of(report, verify_only=restore.spec.verify_only))
        seen: RestoreChanges = {**changes, "stage": report.stage, "disks": disks, "progress": progress}
        return await _publish(ctx, restore, state, seen)
    if await _node_lost(ctx, restore, pod):
        return 0.0
    since = ctx.restore_hints.reached.get(uid)
    if since is None:
        since = ctx.monotonic()
        ctx.restore_hints.reached.put(uid, since)
    if ctx.monotonic() - since > _UNREACHABLE_AFTER_S:
        node = pod["spec"].get("nodeName")
        state = conditions.reconciling("Unreachable", f"the worker on node {node} does not answer; it may go on")
    elif restore.status.stage is None:
        state = conditions.reconciling("Starting", "the worker has started")
    else:
        return ctx.settings.poll_seconds
    return await _publish(ctx, restore, state, {**changes, "stage": restore.status.stage})


async def _serving(ctx: RestoreContext, restore: ObservedRestore, changes: RestoreChanges) -> float:
    disks = stopped_disks(restore.status.disks)
    for disk in disks:
        disk.uri = restored_uri(restore.obj, disk.index, tls=restore.spec.serves_tls)
    state = conditions.ready(
        conditions.REASON_SERVING, f"{human_count(len(disks), 'disk')} can be read, see status.disks"
    )
    seen: RestoreChanges = {**changes, "stage": Stage.SERVING, "disks": disks}
    if restore.spec.serves_tls:
        seen["tls_secret"] = key_secret_name(restore)
    return await _publish(ctx, restore, state, seen)


async def wait_for_old_pods(ctx: RestoreContext, restore: ObservedRestore) -> float | None:
    """Return seconds to wait for the pods of a Job that has gone; None when none is left. One writer at a time."""
    if restore.status.worker_job is None:
        return None
    left = still_there(await pods_of(ctx, restore))
    if not left:
        return None
    if await _node_lost(ctx, restore, left[0]):
        return 0.0
    await publish(ctx, restore, conditions.reconciling("Retrying", "the worker before is being stopped"))
    return _JOB_GOES_POLL_S


async def _start_overdue(ctx: RestoreContext, restore: ObservedRestore, why: str) -> bool:
    """Return whether the first worker did not start in time; then the Restore has failed."""
    return await _failed(ctx, restore, restore.deadlines.start_overdue(ctx.now(), why))


async def _overrun(ctx: RestoreContext, restore: ObservedRestore, pod: Obj | None) -> bool:
    """Return whether even the Job's own deadline could not stop the worker; then the Restore has failed."""
    return await _failed(ctx, restore, restore.deadlines.overrun(ctx.now(), pod))


async def _node_lost(ctx: RestoreContext, restore: ObservedRestore, pod: Obj) -> bool:
    """Return whether the worker's node has been away for too long; then the Restore has failed."""
    found = await find_lost_node(ctx, pod)
    return await _failed(ctx, restore, Problem("NodeLost", found.message) if found is not None else None)


async def _failed(ctx: RestoreContext, restore: ObservedRestore, problem: Problem | None) -> bool:
    if problem is not None:
        await fail(ctx, restore, problem.reason, problem.message)
    return problem is not None
