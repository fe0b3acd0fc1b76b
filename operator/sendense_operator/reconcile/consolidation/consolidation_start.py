"""Start of a consolidation."""

from __future__ import annotations

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation, Consolidation
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.objects import Obj
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.reconcile.catalogue.immutable_points import immutability_of
from sendense_operator.reconcile.chain_jobs.job_start import PlannedJob, start_job
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.consolidation.consolidation_decision import DueConsolidation
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.workload.chain_job import CONSOLIDATION
from sendense_operator.task import Immutability


async def start_consolidation(
    ctx: ChainJobContext,
    chain: WorkedChain,
    due: DueConsolidation,
    rules: Consolidation,
    state: ChainConsolidation,
) -> float:
    """Create the Job, or let the status say what it waits for; return seconds until the next check.

    Raises ClusterError.
    """
    plan = PlannedJob(
        kind=CONSOLIDATION,
        build_task=lambda repository, spec: _task(
            chain, repository, spec, due, rules, immutability_of(spec, ctx.now())
        ),
        slots=lambda spec: spec.max_concurrent_consolidations,
        largest=largest_load(chain.backups),
        annotations={names.ANNOTATION_CONSOLIDATE: due.request} if due.request else {},
    )
    result = await start_job(ctx, chain, plan)
    state.progress = result.progress
    if result.problem:
        state.problem = result.problem
    return result.delay


def largest_load(backups: list[Obj]) -> DiskLoad:
    """Return the largest disk in the deepest stack: a merge opens all of it, and the layer that it writes."""
    disks = [disk for obj in backups for disk in (obj.get("status") or {}).get("disks") or ()]
    return DiskLoad(
        max((int(disk["virtualSize"]) for disk in disks), default=0),
        max((int(disk.get("depth") or 1) for disk in disks), default=1) + 1,
    )


def _task(
    chain: WorkedChain,
    repository: Obj,
    spec: BackupRepositorySpec,
    due: DueConsolidation,
    rules: Consolidation,
    immutability: Immutability,
) -> ConsolidationTask:
    return ConsolidationTask(
        **chain.place(repository, spec),
        target_depth=rules.target_depth,
        everything=bool(due.request),
        immutability=immutability,
        min_free=spec.min_free_bytes,
        bytes_per_second=rules.bytes_per_second,
    )
