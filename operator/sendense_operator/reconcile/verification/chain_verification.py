"""Verification of a chain's restore points: starts the pod when some are due, follows it, and takes its result in.

One step per check of the chain. The status of the Backups is written before that of the chain, and the Job is deleted
last: a controller that dies in between does the same once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from sendense_operator.answer import PointResult
from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, ChainVerification
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.chain_jobs.job_following import SOON_S, EndedJob, RunningJob, follow_job
from sendense_operator.reconcile.chain_jobs.job_queue import leave_queue, wake_next
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError
from sendense_operator.reconcile.protection.verification_reports import VerificationReason, VerificationReport
from sendense_operator.reconcile.repositories.retry_backoff import pause
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.hints import Backoff
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, requested_by
from sendense_operator.reconcile.verification.chain_aspect import report_of
from sendense_operator.reconcile.verification.verification_results import Findings, apply_results, record_end
from sendense_operator.reconcile.verification.verification_schedule import advance_schedule, decide_due, take_request
from sendense_operator.reconcile.verification.verification_start import start_verification
from sendense_operator.reconcile.verification.verified_points import VerifiedPoint, verified_points
from sendense_operator.reconcile.workload.chain_job import VERIFICATION
from sendense_operator.reconcile.workload.worker_pod import verification_task_of

_LONGEST_S: Final = 3600.0
"""Until the next check, in case a clock was set."""
_MOST_FAILURES: Final = 3
"""Pods in a row that end without any result; then the next slot, or the next request, tries again."""
_LONGEST_BACKOFF_S: Final = 3600.0


@dataclass(frozen=True)
class VerifiedChain(WorkedChain):
    """A chain as it was read."""

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
    ctx: ChainJobContext, chain: VerifiedChain, policy: PolicyEntry | None
) -> VerificationStep:
    """Do what is due; `policy`: the one that rules the chain. Raises ClusterError."""
    status = BackupChainStatus.model_validate(chain.obj.get("status") or {})
    state = (status.verification or ChainVerification()).model_copy(deep=True)
    step = VerificationStep(state)
    rules = policy.verification if policy is not None else None
    invalid = _advance(ctx, state, policy)
    take_request(state, requested_by(chain.obj, names.ANNOTATION_VERIFY), chain.points, ctx.now())
    due = decide_due(chain.points, state, None if invalid else rules)
    name = chain.job_name(VERIFICATION)
    job = await find(ctx.cluster, JOB, chain.namespace, name) if due or state.progress else None
    if job is not None:
        await _follow(ctx, chain, job, step)
    elif due is not None and not is_deleting(chain.obj):
        rest = _backoff(ctx, chain)
        step.delay = rest or await start_verification(ctx, chain, due, state)
    else:
        state.progress = ""
        leave_queue(ctx, VERIFICATION, chain.repository_key, chain.key)
        step.delay = _until_next_slot(ctx, state)
    _request_scan(ctx, chain, state)
    step.report = report_of(chain.points, state, rules, ctx.now())
    if invalid and step.report is not None:
        step.report = replace(step.report, holds=False, reason=VerificationReason.INVALID, message=invalid)
    return step


def _advance(ctx: ChainJobContext, state: ChainVerification, policy: PolicyEntry | None) -> str:
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


def _until_next_slot(ctx: ChainJobContext, state: ChainVerification) -> float | None:
    if state.schedule is None or state.schedule.next_time is None:
        return None
    rest = (state.schedule.next_time - ctx.now()).total_seconds()
    return min(max(rest, SOON_S), _LONGEST_S)


async def _follow(ctx: ChainJobContext, chain: VerifiedChain, job: Obj, step: VerificationStep) -> None:
    followed = await follow_job(ctx, chain, job)
    if isinstance(followed, RunningJob):
        step.state.progress = step.state.progress if followed.progress is None else followed.progress
        step.delay = followed.delay
        return
    await _take_in(ctx, chain, followed, step)


async def _take_in(ctx: ChainJobContext, chain: VerifiedChain, ended: EndedJob, step: VerificationStep) -> None:
    state, task, answer = step.state, verification_task_of(ended.job), ended.answer
    found = Findings.of(task, answer, ctx.now()) if task is not None and answer is not None else None
    if found is not None:
        await apply_results(ctx, chain.backups, found)
        record_end(state, found)
        await _tell(ctx, chain, found)
    else:
        state.problem = f"the verification left no answer: {ended.death}"
    if found is not None and (found.has_advanced or found.answer.outcome == "Cancelled"):
        ctx.verification_hints.failures.pop(chain.uid)
    else:
        await _count_failure(ctx, chain, state)
    # Not empty until the Job is gone: a controller that dies before its deletion looks for it again.
    state.progress = "ending"
    ctx.watch_hints.answers.pop(ended.job["metadata"]["uid"])
    wake_next(ctx, VERIFICATION, chain.repository_key)
    step.ended, step.delay = ended.job, SOON_S


async def _tell(ctx: ChainJobContext, chain: VerifiedChain, found: Findings) -> None:
    if found.count(PointResult.DAMAGED):
        await ctx.events.post(chain.obj, "Warning", "DamageFound", found.answer.message)
    elif found.count(PointResult.VERIFIED):
        await ctx.events.post(chain.obj, "Normal", "RestorePointsVerified", found.summary)
    if found.count(PointResult.GONE):
        ctx.repository_messages.request_scan(chain.repository_key)
        ctx.again(Key(Work.REPOSITORY, *chain.repository_key))


async def _count_failure(ctx: ChainJobContext, chain: VerifiedChain, state: ChainVerification) -> None:
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


def _backoff(ctx: ChainJobContext, chain: VerifiedChain) -> float:
    held = ctx.verification_hints.failures.get(chain.uid)
    rest = held.until - ctx.monotonic() if held is not None else 0.0
    return float(math.ceil(rest)) if rest > 0 else 0.0


def _request_scan(ctx: ChainJobContext, chain: VerifiedChain, state: ChainVerification) -> None:
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
