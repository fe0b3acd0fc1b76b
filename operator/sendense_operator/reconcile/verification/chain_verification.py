"""Verification of a chain's restore points: starts the pod when some are due, follows it, and takes its result in.

One step per check of the chain. The status of the Backups is written before that of the chain, and the Job is deleted
last: a controller that dies in between does the same once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from sendense_operator.answer import Answer, PointResult
from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, ChainVerification
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB, POD
from sendense_operator.cluster.object_names import verification_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_pod_of
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError
from sendense_operator.reconcile.protection.verification_reports import VerificationReason, VerificationReport
from sendense_operator.reconcile.repositories.retry_backoff import pause
from sendense_operator.reconcile.state.context import VerificationContext
from sendense_operator.reconcile.state.hints import Backoff
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import (
    death_of,
    is_deleting,
    is_owned_by,
    job_end,
    newest,
    pod_ip,
    pod_trouble,
    requested_by,
)
from sendense_operator.reconcile.verification.chain_aspect import report_of
from sendense_operator.reconcile.verification.verification_results import Findings, apply_results, record_end
from sendense_operator.reconcile.verification.verification_schedule import advance_schedule, decide_due, take_request
from sendense_operator.reconcile.verification.verification_start import (
    leave_queue,
    start_verification,
    wake_next,
    wants_claim,
)
from sendense_operator.reconcile.verification.verified_points import VerifiedPoint, verified_points
from sendense_operator.reconcile.workload.job_outcome import is_lingering, last_answer
from sendense_operator.reconcile.workload.worker_pod import verification_task_of

_SOON_S: Final = 1.0
_LONGEST_S: Final = 3600.0
"""Until the next check, in case a clock was set."""
_MOST_FAILURES: Final = 3
"""Pods in a row that end without any result; then the next slot, or the next request, tries again."""
_LONGEST_BACKOFF_S: Final = 3600.0


@dataclass(frozen=True)
class VerifiedChain:
    """A chain as it was read."""

    namespace: str
    key: ChainKey
    obj: Obj
    """The BackupChain."""
    backups: list[Obj]
    """Backups that are restore points, or were until their files were lost."""
    repository: Obj | None

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.obj["metadata"]["uid"])

    @property
    def repository_key(self) -> ObjectKey:
        """Its BackupRepository."""
        return ObjectKey(self.namespace, self.key.repository)

    @property
    def job_name(self) -> str:
        """Name of its verification Job."""
        return verification_name(self.obj["metadata"]["name"], self.uid)

    @cached_property
    def points(self) -> list[VerifiedPoint]:
        """Its restore points, the oldest first."""
        return verified_points(self.backups)


@dataclass
class VerificationStep:
    """What a check of the chain came to."""

    state: ChainVerification
    report: VerificationReport | None = None
    delay: float | None = None
    """Seconds until the next check; None: nothing is to be done."""
    ended: Obj | None = None
    """The Job to delete once the chain's status is written."""

    @property
    def status(self) -> ChainVerification | None:
        """The part of the chain's status; None for a chain that nothing requires to be verified, and that never was."""
        return self.state if self.state != ChainVerification() else None


async def advance_verification(
    ctx: VerificationContext, chain: VerifiedChain, policy: PolicyEntry | None
) -> VerificationStep:
    """Do what is due; `policy`: the one that rules the chain. Raises ClusterError."""
    status = BackupChainStatus.model_validate(chain.obj.get("status") or {})
    state = (status.verification or ChainVerification()).model_copy(deep=True)
    step = VerificationStep(state)
    rules = policy.verification if policy is not None else None
    invalid = _advance(ctx, state, policy)
    take_request(state, requested_by(chain.obj, names.ANNOTATION_VERIFY), chain.points, ctx.now())
    due = decide_due(chain.points, state, None if invalid else rules)
    job = await find(ctx.cluster, JOB, chain.namespace, chain.job_name) if due or state.progress else None
    if job is not None:
        await _follow(ctx, chain, job, step)
    elif due is not None and not is_deleting(chain.obj):
        rest = _backoff(ctx, chain)
        step.delay = rest or await start_verification(ctx, chain.obj, chain.key, chain.repository, due, state)
    else:
        state.progress = ""
        leave_queue(ctx, chain.repository_key, chain.key)
        step.delay = _until_next_slot(ctx, state)
    _request_scan(ctx, chain, state)
    step.report = report_of(chain.points, state, rules, ctx.now())
    if invalid and step.report is not None:
        step.report = replace(step.report, holds=False, reason=VerificationReason.INVALID, message=invalid)
    return step


def _advance(ctx: VerificationContext, state: ChainVerification, policy: PolicyEntry | None) -> str:
    """Bring the schedule to now; return what is wrong with it."""
    if policy is None or policy.verification is None:
        state.schedule = None
        return ""
    try:
        state.schedule = advance_schedule(
            state.schedule, policy.verification, suspended=policy.suspended, now=ctx.now()
        )
    except InvalidScheduleError as error:
        state.schedule = None
        return f"verification: {error}. Nothing is verified"
    return ""


def _until_next_slot(ctx: VerificationContext, state: ChainVerification) -> float | None:
    if state.schedule is None or state.schedule.next_time is None:
        return None
    rest = (state.schedule.next_time - ctx.now()).total_seconds()
    return min(max(rest, _SOON_S), _LONGEST_S)


async def _follow(ctx: VerificationContext, chain: VerifiedChain, job: Obj, step: VerificationStep) -> None:
    if is_deleting(job) or not is_owned_by(job, chain.obj):
        step.delay = _SOON_S
        return
    listed = await ctx.cluster.list_objects(POD, chain.namespace, labels=f"job-name={chain.job_name}")
    pods = [pod for pod in listed if is_pod_of(pod, job)]
    pod = newest(pods)
    if job_end(job) is None and not (pod is not None and is_lingering(pod, ctx.now())):
        step.state.progress = await _progress(ctx, chain, pod)
        step.delay = ctx.settings.wait_poll_seconds
        return
    remembered = ctx.watch_hints.answers.get(job["metadata"]["uid"])
    await _take_in(ctx, chain, job, last_answer(pods) or remembered, pod, step)


async def _progress(ctx: VerificationContext, chain: VerifiedChain, pod: Obj | None) -> str:
    """Return how far the pod is; one that holds a claim which something else needs is requested to end."""
    address = pod_ip(pod) if pod is not None else None
    if pod is None or address is None:
        trouble = pod_trouble(pod) if pod is not None else None
        return f"starting: {trouble[0]}: {trouble[1]}"[:256] if trouble is not None else "starting"
    if await wants_claim(ctx, chain.repository_key, chain.repository):
        await ctx.workers.cancel(address)
        return "stopping, since something else needs the repository's claim"
    progress = await ctx.workers.progress(address)
    return (progress.message if progress is not None else "")[:256] or "running"


async def _take_in(
    ctx: VerificationContext,
    chain: VerifiedChain,
    job: Obj,
    answer: Answer | None,
    pod: Obj | None,
    step: VerificationStep,
) -> None:
    state, task = step.state, verification_task_of(job)
    found = Findings.of(task, answer, ctx.now()) if task is not None and answer is not None else None
    if found is not None:
        await apply_results(ctx, chain.backups, found)
        record_end(state, found)
        await _tell(ctx, chain, found)
    else:
        death = death_of(pod) if pod is not None else "its pod is gone"
        end = job_end(job)
        state.problem = f"the verification left no answer: {death}{f' ({end.message})' if end and end.message else ''}"
    if found is not None and (found.has_advanced or found.answer.outcome == "Cancelled"):
        ctx.verification_hints.failures.pop(chain.uid)
    else:
        await _count_failure(ctx, chain, state)
    # Not empty until the Job is gone: a controller that dies before its deletion looks for it again.
    state.progress = "ending"
    ctx.watch_hints.answers.pop(job["metadata"]["uid"])
    wake_next(ctx, chain.repository_key)
    step.ended, step.delay = job, _SOON_S


async def _tell(ctx: VerificationContext, chain: VerifiedChain, found: Findings) -> None:
    if found.count(PointResult.DAMAGED):
        await ctx.events.post(chain.obj, "Warning", "DamageFound", found.answer.message)
    elif found.count(PointResult.VERIFIED):
        await ctx.events.post(chain.obj, "Normal", "RestorePointsVerified", found.summary)
    if found.count(PointResult.GONE):
        ctx.repository_messages.request_scan(chain.repository_key)
        ctx.again(Key(Work.REPOSITORY, *chain.repository_key))


async def _count_failure(ctx: VerificationContext, chain: VerifiedChain, state: ChainVerification) -> None:
    """Wait ever longer; after a few failures this slot and this request are given up."""
    before = ctx.verification_hints.failures.get(chain.uid)
    tries = before.tries + 1 if before is not None else 1
    until = ctx.monotonic() + pause(tries, _LONGEST_BACKOFF_S)
    ctx.verification_hints.failures.put(chain.uid, Backoff(until, tries, "", state.problem))
    await ctx.events.post(chain.obj, "Warning", "VerificationFailed", state.problem)
    if tries < _MOST_FAILURES:
        return
    ctx.verification_hints.failures.pop(chain.uid)
    if state.schedule is not None:
        state.schedule.open = False
    state.request, state.request_time = requested_by(chain.obj, names.ANNOTATION_VERIFY) or state.request, None


def _backoff(ctx: VerificationContext, chain: VerifiedChain) -> float:
    held = ctx.verification_hints.failures.get(chain.uid)
    rest = held.until - ctx.monotonic() if held is not None else 0.0
    return float(math.ceil(rest)) if rest > 0 else 0.0


def _request_scan(ctx: VerificationContext, chain: VerifiedChain, state: ChainVerification) -> None:
    """Have the repository scanned after damage was found: the marks also name restore points that share it.

    Read from the status, so that a controller which dies forgets nothing of it.
    """
    if not state.last_damaged or state.last_time is None or chain.repository is None:
        return
    catalogue = BackupRepositoryStatus.model_validate(chain.repository.get("status") or {}).catalogue
    known = ctx.repository_hints.catalogues.get(chain.repository_key)
    times = (catalogue.time if catalogue is not None else None, known.taken if known is not None else None)
    if max((time for time in times if time is not None), default=state.last_time) > state.last_time:
        return
    if ctx.repository_messages.request_scan(chain.repository_key):
        ctx.again(Key(Work.REPOSITORY, *chain.repository_key))
