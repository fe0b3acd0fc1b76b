"""Start of a Job that works on a chain: its turn in the repository, its resources, its creation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import CLAIM
from sendense_operator.cluster.objects import Obj
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.reconcile.chain_jobs.claim_turns import find_holder, wants_claim
from sendense_operator.reconcile.chain_jobs.job_queue import QUEUED_S, has_turn
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.repositories.repository_status import is_in_order
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.workload.chain_job import ChainJobKind, build_chain_job
from sendense_operator.reconcile.workload.claims import needs_one_node
from sendense_operator.reconcile.workload.job_creation import create_job
from sendense_operator.reconcile.workload.pod_overrides import merge_overrides, resources_of
from sendense_operator.reconcile.workload.worker_memory import decide_resources
from sendense_operator.task import VerificationTask

_RETRY_S: Final = 60.0


@dataclass(frozen=True)
class PlannedJob:
    """What the Job is to do."""

    kind: ChainJobKind
    build_task: Callable[[Obj, BackupRepositorySpec], VerificationTask | ConsolidationTask]
    """From the BackupRepository and its spec."""
    slots: Callable[[BackupRepositorySpec], int]
    """How many of the repository's chains may have such a Job at the same time."""
    largest: DiskLoad
    """The largest disk in the deepest stack that the Job opens."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the Job."""


@dataclass(frozen=True)
class StartResult:
    """How far the start came."""

    progress: str
    """What it waits for, or that the pod starts."""
    delay: float
    """Seconds until the next check."""
    problem: str = ""
    """Why the pod can't be made."""
    started: bool = False


async def start_job(ctx: ChainJobContext, chain: WorkedChain, plan: PlannedJob) -> StartResult:
    """Create the Job, or say what it waits for. Raises ClusterError."""
    place, repository, words = chain.repository_key, chain.repository, plan.kind.words
    if repository is None or is_deleting(repository) or not is_in_order(repository):
        return StartResult(f"waits for BackupRepository {place.name}, which is not ready", _RETRY_S)
    if await wants_claim(ctx, place, repository):
        text = "waits until no Backup and no Restore needs the repository's claim"
        return StartResult(text, ctx.settings.wait_poll_seconds)
    async with ctx.chain_slots:
        if other := await find_holder(ctx, plan.kind, place, repository):
            text = f"waits for the repository's claim, which the {other} of a chain uses"
            return StartResult(text, ctx.settings.wait_poll_seconds)
        slots = plan.slots(BackupRepositorySpec.model_validate(repository["spec"]))
        if not await has_turn(ctx, plan.kind, place, chain.key, slots):
            text = f"waits for its turn: the {words} of other chains of repository {place.name} comes first"
            return StartResult(text, QUEUED_S)
        return await _create(ctx, chain, repository, plan)


async def _create(ctx: ChainJobContext, chain: WorkedChain, repository: Obj, plan: PlannedJob) -> StartResult:
    spec = BackupRepositorySpec.model_validate(repository["spec"])
    wanted = merge_overrides(ctx.settings.pod_defaults, spec.pod_template)
    resources = decide_resources([plan.largest], resources_of(wanted), ctx.settings.worker_max_memory)
    if isinstance(resources, Problem):
        return _rejected(f"{resources.reason}: {resources.message}")
    claim = await find(ctx.cluster, CLAIM, chain.namespace, spec.claim_name)
    job = build_chain_job(
        plan.kind,
        chain.obj,
        chain.key,
        plan.build_task(repository, spec),
        repository=spec,
        one_node=claim is not None and needs_one_node(claim),
        resources=resources,
        settings=ctx.settings,
        annotations=plan.annotations,
    )
    try:
        await create_job(ctx.cluster, job)
    except AlreadyExistsError:
        return StartResult("starting", 1.0)
    except (ForbiddenError, InvalidError) as error:
        return _rejected(f"the {plan.kind.words}'s pod is forbidden: {error}")
    return StartResult("starting", ctx.settings.wait_poll_seconds, started=True)


def _rejected(problem: str) -> StartResult:
    return StartResult("", _RETRY_S, problem=problem[:1000])
