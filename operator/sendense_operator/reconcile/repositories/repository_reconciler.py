"""BackupRepository: is its claim usable, what does a probe pod find there."""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, BackupRepositoryStatus, Catalogue
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP_REPOSITORY, JOB, POD
from sendense_operator.cluster.object_names import probe_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_pod_of
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.catalogue.immutable_points import immutability_of
from sendense_operator.reconcile.repositories.catalogue_scan import hold_all, take_in
from sendense_operator.reconcile.repositories.maintenance_request import MaintenanceRequest, count_points, wanted
from sendense_operator.reconcile.repositories.repository_status import (
    Probed,
    decide_probe,
    is_in_order,
    next_repository_status,
)
from sendense_operator.reconcile.repositories.retry_backoff import steps_of, troubles
from sendense_operator.reconcile.state.context import ChainContext, ReconcileContext, RepositoryContext
from sendense_operator.reconcile.state.kubernetes_objects import (
    is_deleting,
    is_owned_by,
    job_end,
    newest,
    pod_trouble,
    ready_condition,
    terminated,
)
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.vcenter.appliance_reconciler import active_jobs
from sendense_operator.reconcile.workload.chain_job import has_live_jobs
from sendense_operator.reconcile.workload.claim_reading import find_claim
from sendense_operator.reconcile.workload.claims import decide_claim, is_exclusive, needs_one_node
from sendense_operator.reconcile.workload.job_creation import create_job
from sendense_operator.reconcile.workload.job_outcome import LINGER_S, is_lingering, last_answer
from sendense_operator.reconcile.workload.worker_job import build_probe_job, probe_labels
from sendense_operator.reconcile.workload.worker_pod import build_probe_template, probe_task_of
from sendense_operator.task import ProbeTask

_TAKE_IN_POLL_S = 0.5
"""Between two batches of a large catalogue."""


@dataclass(frozen=True)
class _Seen:
    """A repository and what belongs to it."""

    obj: Obj
    spec: BackupRepositorySpec
    claim: Obj
    active: int


async def reconcile_repository(ctx: RepositoryContext, namespace: str, name: str) -> float | None:
    """Keep a repository's status fresh; seconds until the next check."""
    obj = await find(ctx.cluster, BACKUP_REPOSITORY, namespace, name)
    if obj is None or is_deleting(obj):
        return None  # the probe Job is owned by it
    spec = BackupRepositorySpec.model_validate(obj["spec"])
    active = await active_jobs(ctx, namespace, names.LABEL_REPOSITORY, name)
    claim = await _claim(ctx, obj, spec)
    if isinstance(claim, Problem):
        await _write(ctx, obj, claim, active, None)
        return ctx.settings.retry_seconds
    return await _probe(ctx, _Seen(obj, spec, claim, active))


async def _claim(ctx: ReconcileContext, obj: Obj, spec: BackupRepositorySpec) -> Obj | Problem:
    namespace = obj["metadata"]["namespace"]
    found = await find_claim(ctx, namespace, spec.claim_name)
    rivals = await ctx.cluster.list_objects(BACKUP_REPOSITORY, namespace, fields=f"spec.claimName={spec.claim_name}")
    problem = decide_claim(obj, found, rivals)
    if problem is not None or found.claim is None:
        return problem or Problem("ClaimNotFound", spec.claim_name)
    return found.claim


async def _probe(ctx: RepositoryContext, seen: _Seen) -> float | None:
    """Start a probe when one is due, read it when it is done."""
    obj, meta = seen.obj, seen.obj["metadata"]
    job = await find(ctx.cluster, JOB, meta["namespace"], probe_name(meta["name"], meta["uid"]))
    if job is not None:
        return await _read_probe(ctx, seen, job)
    want = await wanted(ctx, obj)
    # One that can't be used is checked soon enough, and what is wanted goes along.
    due_in = 0.0 if want.is_due and is_in_order(obj) else _due_in(ctx, seen)
    if due_in > 0:
        await _write(ctx, obj, None, seen.active, seen.claim)
        return min(due_in, max(want.held_s, 1.0))
    if seen.active and is_exclusive(seen.claim):
        # A ReadWriteOncePod claim is with its worker; that one reports the room that is left.
        await _write(ctx, obj, None, seen.active, seen.claim)
        return ctx.settings.wait_poll_seconds
    if is_exclusive(seen.claim) and await has_live_jobs(ctx.cluster, ObjectKey.of(obj)):
        # A verification or a merge of hours hands the claim over, and goes on afterwards.
        ctx.repository_messages.request_claim(ObjectKey.of(obj))
        await _write(ctx, obj, None, seen.active, seen.claim)
        return ctx.settings.wait_poll_seconds
    return await _start_probe(ctx, seen, want)


def _due_in(ctx: ChainContext, seen: _Seen) -> float:
    """Return seconds until the next probe, 0 when it is due."""
    if ctx.repository_messages.is_probe_requested(ObjectKey.of(seen.obj)):
        return 0.0
    ready = ready_condition(seen.obj)
    last = parse_time((seen.obj.get("status") or {}).get("lastProbeTime"))
    if ready is None or last is None:
        return 0.0
    if ready["status"] == "True":
        interval = float(seen.spec.probe_interval_seconds)
    elif ready["reason"] in _CLAIM_REASONS:
        return 0.0  # the claim is well again
    else:
        interval = min(30.0, float(seen.spec.probe_interval_seconds))
    # A clock that was set back must not put the probe off for long.
    age = (ctx.now() - last).total_seconds()
    return max(0.0, interval - age) if age >= 0 else 0.0


_CLAIM_REASONS = frozenset(
    {"ClaimNotFound", "ClaimPending", "ClaimLost", "ClaimInUse", "ClaimDeleting", "ReadOnlyClaim", "Probing"}
)


async def _start_probe(ctx: RepositoryContext, seen: _Seen, want: MaintenanceRequest) -> float | None:
    obj, meta = seen.obj, seen.obj["metadata"]
    old_id = (obj.get("status") or {}).get("repositoryID")
    task = ProbeTask(
        namespace=meta["namespace"],
        repository=meta["name"],
        repository_uid=meta["uid"],
        repository_path=seen.spec.path,
        expected_id=old_id,
        folder=seen.spec.folder,
        remove=want.remove,
        scan=want.scan,
        scan_request=want.request,
        immutability=immutability_of(seen.spec, ctx.now()),
    )
    labels = probe_labels(obj)
    one_node = needs_one_node(seen.claim)
    template = build_probe_template(task, labels=labels, repository=seen.spec, one_node=one_node, settings=ctx.settings)
    job = build_probe_job(obj, template, labels, deadline_seconds=_deadline(ctx.settings, obj, task))
    try:
        await create_job(ctx.cluster, job)
    except AlreadyExistsError:
        return 0.0
    except (ForbiddenError, InvalidError) as error:
        if isinstance(error, ForbiddenError) and error.terminating:
            return None
        return await _not_made(ctx, seen, str(error))
    ctx.repository_messages.withdraw_probe_request(ObjectKey.of(obj))
    ctx.repository_messages.withdraw_claim_request(ObjectKey.of(obj))
    if ready_condition(obj) is None:
        problem = Problem("Probing", f"a maintenance pod checks claim {seen.spec.claim_name}")
        await _write(ctx, obj, problem, seen.active, seen.claim)
    return ctx.settings.wait_poll_seconds


async def _not_made(ctx: RepositoryContext, seen: _Seen, words: str) -> float:
    """Report that the maintenance pod is forbidden, for example by a quota; a repository that works stays Ready."""
    if _is_proven(ctx, seen):
        await ctx.events.post(seen.obj, "Warning", "PodForbidden", f"the maintenance pod is forbidden: {words}")
        await _write(ctx, seen.obj, None, seen.active, seen.claim)
    else:
        await _write(ctx, seen.obj, Problem("PodForbidden", words), seen.active, seen.claim)
    return ctx.settings.wait_poll_seconds


def _is_proven(ctx: ChainContext, seen: _Seen) -> bool:
    """Return whether backups show that the repository works: one runs, or one ended since the status was written."""
    ended = ctx.repository_messages.has_capacity(ObjectKey.of(seen.obj))
    return is_in_order(seen.obj) and (seen.active > 0 or ended)


def _deadline(settings: Settings, obj: Obj, task: ProbeTask) -> int:
    """Return seconds for a pod. Of a repository that is not known to be well, its failure has to be reported soon."""
    patient = is_in_order(obj) and steps_of(task)
    return settings.scan_deadline_seconds if patient else settings.probe_deadline_seconds


async def _read_probe(ctx: RepositoryContext, seen: _Seen, job: Obj) -> float | None:
    obj, meta = seen.obj, job["metadata"]
    if is_deleting(job) or not is_owned_by(job, obj):
        await _write(ctx, obj, None, seen.active, seen.claim)
        return 2.0
    listed = await ctx.cluster.list_objects(POD, meta["namespace"], labels=f"job-name={meta['name']}")
    pods = [pod for pod in listed if is_pod_of(pod, job)]
    pod = newest(pods)
    # A container that was added to the pod may run on for ever: then the answer is the end, and the Job is removed.
    if job_end(job) is None and not (pod is not None and is_lingering(pod, ctx.now())):
        trouble = pod_trouble(pod) if pod is not None else None
        ready = ready_condition(obj)
        if trouble is not None and (ready is None or ready["status"] != "True"):
            problem = Problem(trouble[0], f"the probe's pod does not start: {trouble[1]}")
            await _write(ctx, obj, problem, seen.active, seen.claim)
        return _settling(ctx, pod)
    remembered = ctx.watch_hints.answers.get(meta["uid"])
    answer = last_answer(pods) or remembered
    task = probe_task_of(job)
    probed = decide_probe(job, pods, remembered, seen.spec)
    result: Probed | None = probed
    catalogue = None
    if task is not None and answer is not None and answer.outcome == "Completed":
        taken = await take_in(ctx, obj, job, pod, task, answer)
        if not taken.is_complete:
            return _TAKE_IN_POLL_S
        catalogue = taken.catalogue
    elif task is not None and probed.is_unfinished:
        result = await _unfinished(ctx, seen, task, probed)
    ctx.watch_hints.answers.pop(meta["uid"])
    await _write(ctx, obj, result, seen.active, seen.claim, catalogue)
    # After the status: a controller that dies in between reads the same answer again.
    await ctx.cluster.delete(JOB, meta["namespace"], meta["name"], uid=meta["uid"])
    return 2.0


def _settling(ctx: ReconcileContext, pod: Obj | None) -> float:
    """Return seconds until the next check of a running pod: soon when its worker has ended."""
    ended = pod is not None and terminated(pod) is not None
    return min(LINGER_S, ctx.settings.wait_poll_seconds) if ended else ctx.settings.wait_poll_seconds


async def _unfinished(ctx: RepositoryContext, seen: _Seen, task: ProbeTask, probed: Probed) -> Probed | None:
    """Return what a pod says that did not come to its end; None: nothing against a repository that was in order before.

    It may have had too much to do. So one that has nothing else to do looks next, and Backups go on meanwhile.
    """
    obj = seen.obj
    duties, why = steps_of(task), probed.problem.message if probed.problem is not None else ""
    if not duties and _is_proven(ctx, seen):
        await ctx.events.post(obj, "Warning", "ProbeFailed", f"the maintenance pod did not end: {why}")
        return None
    if not duties:
        return probed
    hold_all(ctx, obj, task, why)
    ctx.repository_messages.request_probe(ObjectKey.of(obj))
    if not is_in_order(obj):
        return probed
    text = f"the {' and the '.join(duties)} did not come to an end: {why}"
    await ctx.events.post(obj, "Warning", "ScanIncomplete" if task.scan else "RemovalIncomplete", text)
    return None


async def _write(
    ctx: RepositoryContext,
    obj: Obj,
    result: Probed | Problem | None,
    active: int,
    claim: Obj | None,
    catalogue: Catalogue | None = None,
) -> None:
    old = BackupRepositoryStatus.model_validate(obj.get("status") or {})
    status = next_repository_status(
        old,
        result,
        spec=BackupRepositorySpec.model_validate(obj["spec"]),
        active=active,
        points=await count_points(ctx, obj),
        volume=((claim or {}).get("spec") or {}).get("volumeName"),
        found=ctx.repository_messages.take_capacity(ObjectKey.of(obj)),
        catalogue=catalogue,
        note=troubles(ctx, obj),
        generation=obj["metadata"].get("generation"),
        now=ctx.now(),
    )
    if not await write_status(ctx.cluster, BACKUP_REPOSITORY, obj, status):
        return
    if ready := conditions.changed_ready(old, status):
        good = ready.status == "True" or (isinstance(result, Problem) and result.meaning is Meaning.WAIT)
        await ctx.events.post(obj, "Normal" if good else "Warning", ready.reason, ready.message)
