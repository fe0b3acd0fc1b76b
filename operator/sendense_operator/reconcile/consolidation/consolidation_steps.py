"""Consolidation of a chain: starts the pod when there is something to merge, follows it, and takes its result in.

Two steps per check of the chain. The first follows the pod, before the chain's status is derived from its Backups and
from the catalogue: both are as the merge left them by then. The second decides, from the derived status, what is next.
The status of the Backups is written before that of the chain, and the Job is deleted last: a controller that dies in
between does the same once more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backupchain import BackupChainSpec, BackupChainStatus
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation, Consolidation
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.chain_jobs.job_following import SOON_S, EndedJob, RunningJob, follow_job
from sendense_operator.reconcile.chain_jobs.job_queue import leave_queue, wake_next
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.consolidation.consolidation_decision import (
    DueConsolidation,
    HeldConsolidation,
    decide_due,
    take_request,
)
from sendense_operator.reconcile.consolidation.consolidation_results import ConsolidationEnd, record_end
from sendense_operator.reconcile.consolidation.consolidation_start import start_consolidation
from sendense_operator.reconcile.consolidation.mergeable_layers import MergeableLayers
from sendense_operator.reconcile.consolidation.merged_catalogue import take_in_catalogue
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, requested_by
from sendense_operator.reconcile.workload.chain_job import CONSOLIDATION


@dataclass
class ConsolidationStep:
    """What a check of the chain came to."""

    state: ChainConsolidation
    delay: float | None = None
    """Seconds until the next check; None: nothing is to be done."""
    is_running: bool = False
    """Whether the Job is there, and its end is not taken in."""
    end: EndedJob | None = None
    has_reported: bool = False
    """Whether the pod's catalogue was acted on: layers that are gone since were merged or freed by it."""

    @property
    def status(self) -> ChainConsolidation | None:
        """The part of the chain's status; None for a chain in which there was never anything to merge."""
        return self.state if self.state != ChainConsolidation() else None

    @property
    def ended(self) -> Obj | None:
        """The Job to delete once the chain's status is written."""
        return self.end.job if self.end is not None else None


async def follow_consolidation(ctx: ChainJobContext, chain: WorkedChain) -> ConsolidationStep:
    """Follow the pod, if there is one: its catalogue is acted on once it has ended. Raises ClusterError."""
    status = BackupChainStatus.model_validate(chain.obj.get("status") or {})
    step = ConsolidationStep((status.consolidation or ChainConsolidation()).model_copy(deep=True))
    job = await _find_job(ctx, chain) if step.state.progress else None
    if job is None:
        return step
    followed = await follow_job(ctx, chain, job)
    if isinstance(followed, RunningJob):
        step.is_running, step.delay = True, followed.delay
        step.state.progress = step.state.progress if followed.progress is None else followed.progress
        return step
    step.has_reported, step.delay = True, SOON_S
    if await take_in_catalogue(ctx, chain, followed):
        step.is_running = True  # the status has to be derived from the Backups as they are now
    else:
        step.end = followed
    return step


async def _find_job(ctx: ChainJobContext, chain: WorkedChain) -> Obj | None:
    return await find(ctx.cluster, JOB, chain.namespace, chain.job_name(CONSOLIDATION))


async def advance_consolidation(
    ctx: ChainJobContext, chain: WorkedChain, step: ConsolidationStep, status: BackupChainStatus
) -> None:
    """Record the end of the pod, or start the next one when one is due. `status`: the chain's, as derived now.

    Raises ClusterError.
    """
    rules = BackupChainSpec.model_validate(chain.obj["spec"]).consolidation
    layers, request = MergeableLayers.of(status), requested_by(chain.obj, names.ANNOTATION_CONSOLIDATE)
    if step.end is not None:
        await _record(ctx, chain, step, step.end, layers.digest(rules.target_depth))
    take_request(step.state, request, rules.mode, layers, ctx.now())
    if step.end is None and not step.is_running:
        step.delay = await _next(ctx, chain, step.state, rules, layers, request)


async def _record(
    ctx: ChainJobContext, chain: WorkedChain, step: ConsolidationStep, ended: EndedJob, seen: str
) -> None:
    request = requested_by(ended.job, names.ANNOTATION_CONSOLIDATE)
    end = ConsolidationEnd(ended.answer, ended.death if ended.answer is None else "", request, seen)
    record_end(step.state, end, ctx.now())
    if end.summary:
        await ctx.events.post(chain.obj, "Normal", "Consolidated", end.summary)
    if end.problem:
        await ctx.events.post(chain.obj, "Warning", "ConsolidationFailed", end.problem)
    # Not empty until the Job is gone: a controller that dies before its deletion looks for it again.
    step.state.progress = "ending"
    ctx.watch_hints.answers.pop(ended.job["metadata"]["uid"])
    wake_next(ctx, CONSOLIDATION, chain.repository_key)


async def _next(
    ctx: ChainJobContext,
    chain: WorkedChain,
    state: ChainConsolidation,
    rules: Consolidation,
    layers: MergeableLayers,
    request: str,
) -> float | None:
    due = decide_due(layers, state, rules, request, ctx.now())
    if isinstance(due, DueConsolidation) and not is_deleting(chain.obj):
        if await _find_job(ctx, chain) is not None:  # made by a controller that died before it wrote the status
            state.progress = "starting"
            return SOON_S
        return await start_consolidation(ctx, chain, due, rules, state)
    leave_queue(ctx, CONSOLIDATION, chain.repository_key, chain.key)
    state.progress = ""
    if isinstance(due, HeldConsolidation):
        _hold(state, due, request)
        return due.delay
    if not layers.needed:
        state.left = state.message = ""
        state.tries = 0
    return None


def _hold(state: ChainConsolidation, held: HeldConsolidation, request: str) -> None:
    state.progress = held.progress
    state.problem = held.problem or state.problem
    if held.obstacle is not None:
        state.left, state.message = held.obstacle.value, held.message
        if state.request_time is not None:
            state.request, state.request_time = request, None
