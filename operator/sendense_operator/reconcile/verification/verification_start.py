"""Start of a verification."""

from __future__ import annotations

from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.chain_jobs.job_start import PlannedJob, start_job
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.verification.verification_schedule import DueVerification
from sendense_operator.reconcile.workload.chain_job import VERIFICATION
from sendense_operator.task import PointReference, VerificationTask


async def start_verification(
    ctx: ChainJobContext, chain: WorkedChain, due: DueVerification, state: ChainVerification
) -> float:
    """Create the Job, or let the status say what the verification waits for; return seconds until the next check."""
    plan = PlannedJob(
        kind=VERIFICATION,
        build_task=lambda repository, spec: _task(chain, repository, spec, due),
        slots=lambda spec: spec.max_concurrent_verifications,
        largest=DiskLoad(
            max(point.load.virtual_size for point in due.points), max(point.load.layers for point in due.points)
        ),
    )
    result = await start_job(ctx, chain, plan)
    state.progress = result.progress
    if result.problem:
        state.problem = result.problem
    if result.started:
        state.level, state.problem = due.level, ""
    return result.delay


def _task(chain: WorkedChain, repository: Obj, spec: BackupRepositorySpec, due: DueVerification) -> VerificationTask:
    return VerificationTask(
        **chain.place(repository, spec),
        level=due.level,
        points=tuple(PointReference(backup=point.name, backup_uid=point.uid) for point in due.points),
        bytes_per_second=due.bytes_per_second,
    )
