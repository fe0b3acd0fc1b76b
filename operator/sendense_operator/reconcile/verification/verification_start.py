"""Start of a verification: its turn in the repository, and its Job."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP, CLAIM, RESTORE
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.repositories.repository_status import is_in_order
from sendense_operator.reconcile.state.context import VerificationContext
from sendense_operator.reconcile.state.keys import ChainKey, Key
from sendense_operator.reconcile.state.kubernetes_objects import in_no_phase_of, is_deleting
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.verification.verification_schedule import DueVerification
from sendense_operator.reconcile.workload.claims import is_exclusive, needs_one_node
from sendense_operator.reconcile.workload.job_creation import create_job
from sendense_operator.reconcile.workload.pod_overrides import merge_overrides, resources_of
from sendense_operator.reconcile.workload.verification_job import build_verification_job, live_verifications
from sendense_operator.reconcile.workload.worker_memory import decide_resources
from sendense_operator.task import PointReference, VerificationTask

QUEUED_S: Final = 600.0
"""Until a chain that waits for a slot is checked although nobody woke it."""
_RETRY_S: Final = 60.0
_UNFINISHED: Final = in_no_phase_of(conditions.TERMINAL_PHASES)


async def start_verification(
    ctx: VerificationContext,
    chain: Obj,
    key: ChainKey,
    repository: Obj | None,
    due: DueVerification,
    state: ChainVerification,
) -> float:
    """Create the Job, or let the status say what the verification waits for; return seconds until the next check."""
    namespace = chain["metadata"]["namespace"]
    place = ObjectKey(namespace, key.repository)
    if repository is None or is_deleting(repository) or not is_in_order(repository):
        state.progress = f"waits for BackupRepository {key.repository}, which is not ready"
        return _RETRY_S
    if await wants_claim(ctx, place, repository):
        state.progress = "waits until no Backup and no Restore needs the repository's claim"
        return ctx.settings.wait_poll_seconds
    async with ctx.verification_slots:
        if not await _has_turn(ctx, place, key, repository):
            state.progress = f"waits for its turn: repository {key.repository} verifies other chains"
            return QUEUED_S
        return await _create(ctx, chain, key, repository, due, state)


async def _has_turn(ctx: VerificationContext, place: ObjectKey, key: ChainKey, repository: Obj) -> bool:
    """Return whether a slot is free and no other chain waits for longer; one that has to wait is woken by `wake_next`.

    A chain at the head of the queue lists the Jobs, the others need not.
    """
    waiting, now = ctx.verification_hints.waiting.setdefault(place, {}), ctx.monotonic()
    waiting[str(key)] = now  # one that waits already keeps its place
    for other in [other for other, seen in waiting.items() if now - seen > 2 * QUEUED_S]:
        del waiting[other]  # its checks fail: it must not hold up the others
    if next(iter(waiting)) != str(key):
        return False
    spec = BackupRepositorySpec.model_validate(repository["spec"])
    if await live_verifications(ctx.cluster, *place) >= spec.max_concurrent_verifications:
        return False
    leave_queue(ctx, place, key)  # there may be more slots
    return True


def leave_queue(ctx: VerificationContext, place: ObjectKey, key: ChainKey) -> None:
    """Let a chain no longer wait for a slot of the repository `place`, if it did; the next one is checked again."""
    if ctx.verification_hints.waiting.get(place, {}).pop(str(key), None) is not None:
        wake_next(ctx, place)


def wake_next(ctx: VerificationContext, place: ObjectKey) -> None:
    """Check the chain again that waits for a slot of the repository `place` for longest."""
    if waiting := ctx.verification_hints.waiting.get(place):
        ctx.again(Key.of_chain(place.namespace, ChainKey.parse(next(iter(waiting)))), 1.0)
    else:
        ctx.verification_hints.waiting.pop(place, None)


async def _create(
    ctx: VerificationContext,
    chain: Obj,
    key: ChainKey,
    repository: Obj,
    due: DueVerification,
    state: ChainVerification,
) -> float:
    spec = BackupRepositorySpec.model_validate(repository["spec"])
    wanted = merge_overrides(ctx.settings.pod_defaults, spec.pod_template)
    largest = DiskLoad(
        max(point.load.virtual_size for point in due.points), max(point.load.layers for point in due.points)
    )
    resources = decide_resources([largest], resources_of(wanted), ctx.settings.worker_max_memory)
    if isinstance(resources, Problem):
        return _rejected(state, f"{resources.reason}: {resources.message}")
    claim = await find(ctx.cluster, CLAIM, chain["metadata"]["namespace"], spec.claim_name)
    job = build_verification_job(
        chain,
        key,
        _task(chain, key, repository, spec, due),
        repository=spec,
        one_node=claim is not None and needs_one_node(claim),
        resources=resources,
        settings=ctx.settings,
    )
    try:
        await create_job(ctx.cluster, job)
    except AlreadyExistsError:
        return 1.0
    except (ForbiddenError, InvalidError) as error:
        return _rejected(state, f"the verification's pod is forbidden: {error}")
    state.level, state.progress, state.problem = due.level, "starting", ""
    return ctx.settings.wait_poll_seconds


def _rejected(state: ChainVerification, problem: str) -> float:
    state.problem, state.progress = problem[:1000], ""
    return _RETRY_S


def _task(
    chain: Obj, key: ChainKey, repository: Obj, spec: BackupRepositorySpec, due: DueVerification
) -> VerificationTask:
    return VerificationTask(
        namespace=chain["metadata"]["namespace"],
        folder=spec.folder,
        vm=key.vm,
        chain=chain["metadata"]["name"],
        repository_id=(repository.get("status") or {}).get("repositoryID") or "",
        repository_path=spec.path,
        level=due.level,
        points=tuple(PointReference(backup=point.name, backup_uid=point.uid) for point in due.points),
        bytes_per_second=due.bytes_per_second,
    )


async def wants_claim(ctx: VerificationContext, place: ObjectKey, repository: Obj | None) -> bool:
    """Return whether a Backup, a Restore or a maintenance pod needs a claim that one pod at a time can use."""
    if repository is None:
        return False
    claim = await find(ctx.cluster, CLAIM, place.namespace, repository["spec"]["claimName"])
    if claim is None or not is_exclusive(claim):
        return False
    if ctx.repository_messages.is_claim_requested(place):
        return True
    fields = f"spec.repositoryRef.name={place.name},{_UNFINISHED}"
    if await collect(ctx.cluster, BACKUP, place.namespace, _needs_worker, fields=fields):
        return True
    fields = f"status.restorePoint.repositoryName={place.name},{_UNFINISHED}"
    return bool(await collect(ctx.cluster, RESTORE, place.namespace, _has_worker, fields=fields))


def _has_worker(restore: Obj) -> bool | None:
    """Return True for a Restore that has a worker; None for one that waits for something else than its pod."""
    return True if (restore.get("status") or {}).get("workerJob") and not is_deleting(restore) else None


def _needs_worker(backup: Obj) -> bool | None:
    """Return True for a Backup that has a worker or waits for one; None for one that only waits for a scan."""
    status = backup.get("status") or {}
    copies = not backup["spec"].get("adopt") and status.get("phase") in (None, "", Phase.PENDING, Phase.RUNNING)
    return True if copies and not is_deleting(backup) else None
