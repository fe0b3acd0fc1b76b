"""The sender of a Restore: the pod that has the repository's volume, where the one that writes can't have it."""

from __future__ import annotations

from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB, POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_pod_of
from sendense_operator.reconcile.restores.export_key import ensure_key
from sendense_operator.reconcile.restores.export_network import open_sender_network
from sendense_operator.reconcile.restores.restore_status import ObservedRestore, publish
from sendense_operator.reconcile.state.context import ReconcileContext, RestoreContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, is_owned_by, pod_ip
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.job_creation import create_job
from sendense_operator.reconcile.workload.job_outcome import AnswerLost, Died, Ended, RunningAttempt, observe_worker
from sendense_operator.reconcile.workload.restore_job import RestorePlan, build_sender_job
from sendense_operator.reconcile.workload.worker_network import sender_host
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import Stage

STARTING: Final = Problem(
    "SenderStarting",
    "no node can mount the volumes of the repository and the targets: the pod that serves the disks is being started",
)


def sender_task(task: RestoreTask) -> RestoreTask:
    """Return the task of the pod that serves the disks of a task."""
    disks = tuple(disk.model_copy(update={"claim": ""}) for disk in task.disks)
    return task.model_copy(update={"disks": disks, "serve": True, "serve_tls": True, "serve_digests": True})


def receiver_task(task: RestoreTask, restore: Obj) -> RestoreTask:
    """Return the task of the pod that writes the disks of a task."""
    return task.model_copy(update={"sender": sender_host(restore)})


async def ensure_sender(
    ctx: RestoreContext, restore: ObservedRestore, task: RestoreTask, plan: RestorePlan
) -> Problem | None:
    """Make the sender with its key and its network, and return None once it serves. Raises ClusterError."""
    job = await find(ctx.cluster, JOB, restore.namespace, restore.sender_name)
    if job is None:
        # First of all in the status: what is named there is removed at the end.
        state = conditions.reconciling(STARTING.reason, STARTING.message)
        await publish(ctx, restore, state, urgent=True, sender_job=restore.sender_name)
        if problem := await ensure_key(ctx, restore):
            return problem
        await open_sender_network(ctx, restore)
        await create_job(ctx.cluster, build_sender_job(restore.obj, sender_task(task), plan, ctx.settings))
        return STARTING
    if not is_owned_by(job, restore.obj):
        return Problem("JobNameTaken", f"a Job {restore.sender_name} is there that belongs to something else")
    pods = await _pods_of(ctx, restore, job)
    if problem := decide_sender(job, pods, _remembered(ctx, job)):
        return problem
    for address in filter(None, (pod_ip(pod) for pod in pods if not is_deleting(pod))):
        report = await ctx.workers.progress(address)
        if report is not None and report.stage is Stage.SERVING:
            return None
    return _trouble(job, pods) or STARTING


async def find_sender_problem(ctx: RestoreContext, restore: ObservedRestore) -> Problem | None:
    """Return why the sender will not serve any more, while the other pod needs it. Raises ClusterError."""
    if restore.status.sender_job is None:
        return None
    job = await find(ctx.cluster, JOB, restore.namespace, restore.sender_name)
    if job is None or not is_owned_by(job, restore.obj):
        return Problem("SenderLost", f"the Job {restore.sender_name} of the sender was deleted", Meaning.FINAL)
    return decide_sender(job, await _pods_of(ctx, restore, job), _remembered(ctx, job))


def decide_sender(job: Obj, pods: list[Obj], remembered: Answer | None) -> Problem | None:
    """Return how a sender ended; None while it runs or is being replaced.

    `remembered`: the answer of a pod that is gone.
    """
    match observe_worker(job, pods, remembered):
        case Ended(answer=None) as seen:
            return Problem(seen.reason, f"the sender: {seen.message}", Meaning.FINAL)
        case Ended(answer=answer) if answer is not None:
            text = f"the sender: {answer.message or answer.outcome}"
            return Problem(answer.reason or "SenderLost", text, Meaning.FINAL)
        case Died() as seen:
            return Problem("WorkerDied", f"the sender: {seen.message}", Meaning.FINAL)
        case AnswerLost():
            return Problem("SenderLost", "the sender ended before the disks were restored", Meaning.FINAL)
    return None


def _trouble(job: Obj, pods: list[Obj]) -> Problem | None:
    """Return why a sender's pod does not start."""
    seen = observe_worker(job, pods, None)
    if not isinstance(seen, RunningAttempt) or seen.trouble is None:
        return None
    reason, words = seen.trouble
    return Problem(reason, f"the sender's pod does not start: {words}")


async def remove_sender(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Delete the sender's Job, and with it its pod. Raises ClusterError."""
    if restore.status.sender_job is None:
        return
    job = await find(ctx.cluster, JOB, restore.namespace, restore.sender_name)
    if job is not None and is_owned_by(job, restore.obj) and not is_deleting(job):
        uid = job["metadata"]["uid"]
        await ctx.cluster.delete(JOB, restore.namespace, restore.sender_name, uid=uid)


def _remembered(ctx: RestoreContext, job: Obj) -> Answer | None:
    return ctx.watch_hints.answers.get(job["metadata"]["uid"])


async def _pods_of(ctx: ReconcileContext, restore: ObservedRestore, job: Obj) -> list[Obj]:
    pods = await ctx.cluster.list_objects(POD, restore.namespace, labels=f"job-name={restore.sender_name}")
    return [pod for pod in pods if is_pod_of(pod, job)]
