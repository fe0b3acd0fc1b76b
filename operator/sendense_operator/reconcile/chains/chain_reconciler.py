"""BackupChain: the restore points of one VM in one repository, and the end of those whose Backups are deleted.

One place decides about the files of deleted Backups, so that no two checks disagree. The order of its writes keeps a
removal from being forgotten: first the chain is held, then it lists the point as removed, then the Backup may go.
"""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backupchain import BackupChainSpec, BackupChainStatus, RemovalState
from sendense_operator.api.v1alpha1.base import LocalRef
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError, NotFoundError
from sendense_operator.cluster.kinds import BACKUP_CHAIN, JOB
from sendense_operator.cluster.object_names import chain_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import add_finalizers, has_finalizer, remove_finalizers
from sendense_operator.formatting import utc_stamp
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.catalogue.removal import Kept, is_out_of_reach, look_for_guard
from sendense_operator.reconcile.chain_jobs.job_queue import leave_queue
from sendense_operator.reconcile.chains.chain_writing import ChainSteps, write_chain
from sendense_operator.reconcile.chains.deleted_backups import RETAINED, find_deleted, let_go
from sendense_operator.reconcile.chains.expiry import delete_old_failures
from sendense_operator.reconcile.chains.observed_chain import ObservedChain, observe_chain
from sendense_operator.reconcile.consolidation.consolidation_steps import follow_consolidation
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.repositories.maintenance_request import has_doubts
from sendense_operator.reconcile.state.context import ChainJobContext, ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.reconcile.verification.chain_verification import (
    VerifiedChain,
    advance_verification,
)
from sendense_operator.reconcile.workload.chain_job import KINDS

_AGAIN_S: Final = 1.0


def key_of_chain(obj: Obj) -> Key:
    """Return what a BackupChain is checked by: it may have to be made again after somebody deleted it."""
    return Key.of_chain(obj["metadata"]["namespace"], ChainKey.of(obj))


async def reconcile_chain(
    ctx: ChainJobContext, index: ProtectionIndex, namespace: str, vm: str, repository: str
) -> float | None:
    """Keep the chain's status, and decide about the files of deleted Backups. The chain is made when it is needed."""
    name = chain_name(vm, repository)
    seen = await observe_chain(ctx.cluster, namespace, ChainKey(vm, repository))
    if has_doubts(seen.backups, seen.repository, ctx.repository_hints.catalogues.get(seen.repository_key)):
        ctx.repository_messages.request_scan(seen.repository_key)
        ctx.again(Key(Work.REPOSITORY, namespace, repository))
    if not index.synced() and (seen.status.policy is not None or seen.status.verification is not None):
        return _AGAIN_S  # its policy is not known yet
    await delete_old_failures(ctx, seen.backups, index.policies.of(namespace))
    deleted = await find_deleted(ctx, seen)
    going, retained = deleted.going, deleted.retained
    chain = seen.obj
    if chain is None and (seen.points or deleted):
        chain = await _create(ctx, seen, name)
    if chain is None:
        for kind in KINDS:
            leave_queue(ctx, kind, seen.repository_key, seen.key)
        for obj in retained:
            await let_go(ctx, obj, RETAINED, reason="RestorePointKept")
        return _AGAIN_S if going else deleted.seconds_left(ctx.now())
    held = has_finalizer(chain, names.FINALIZER_REMOVALS)
    if is_deleting(chain) and not held:
        return _AGAIN_S if deleted else None  # it goes in a moment, and is made again
    if going and not held:
        chain = await add_finalizers(ctx.cluster, BACKUP_CHAIN, chain, names.FINALIZER_REMOVALS)
    listed = BackupChainStatus.model_validate(chain.get("status") or {}).restore_points
    worked = VerifiedChain(namespace, seen.key, chain, seen.points, seen.repository)
    consolidation = await follow_consolidation(ctx, worked)
    known = ctx.repository_hints.catalogues.get(seen.repository_key)
    view = known.chains.get(vm) if known is not None else None
    verification = await advance_verification(
        ctx,
        worked,
        index.ruling(namespace, vm, repository),
    )
    steps = ChainSteps(worked, verification, consolidation)
    status, more = await write_chain(ctx, index, seen, deleted.removals(listed), view, steps)
    for ended in (verification.ended, consolidation.ended):
        if ended is not None:
            await ctx.cluster.delete(JOB, namespace, ended["metadata"]["name"], uid=ended["metadata"]["uid"])
    for obj in retained:
        await let_go(ctx, obj, RETAINED, reason="RestorePointKept")
    if any(point.state is RemovalState.PENDING for point in status.removed):
        ctx.again(Key(Work.REPOSITORY, namespace, repository))
    kept_until = {point.uid: point.kept_until for point in status.removed}
    for obj in going:
        text = f"its files in repository {repository} are removed as soon as no other restore point needs them"
        if until := kept_until.get(uid := point_uid(obj)):
            text += f", not before {utc_stamp(until)}: until then a Backup with spec.adopt.uid {uid} takes it back"
        await let_go(ctx, obj, Kept(text), reason="RestorePointRemoved")
    rest = await _release(ctx, seen, chain, status, view)
    if deleted.has_more:
        return _AGAIN_S
    return _soonest(more, rest, deleted.seconds_left(ctx.now()), verification.delay, consolidation.delay)


def _soonest(*delays: float | None) -> float | None:
    return min((delay for delay in delays if delay is not None), default=None)


async def _create(ctx: ReconcileContext, seen: ObservedChain, name: str) -> Obj | None:
    """Create the chain; None when its namespace, or its definition, takes nothing new any more or is gone."""
    spec = BackupChainSpec(vm_ref=LocalRef(name=seen.vm), repository_ref=LocalRef(name=seen.repository_name))
    obj = {"metadata": {"namespace": seen.namespace, "name": name}, "spec": spec.to_dict()}
    try:
        return await ctx.cluster.apply(BACKUP_CHAIN, obj)
    except NotFoundError:
        return None
    except ForbiddenError as error:
        if error.terminating:
            return None
        raise


async def _release(
    ctx: ReconcileContext, seen: ObservedChain, chain: Obj, status: BackupChainStatus, view: ChainView | None
) -> float | None:
    """Take the finalizer off once the repository knows of all removals; off a chain that goes, if it never will."""
    if not has_finalizer(chain, names.FINALIZER_REMOVALS):
        return None
    pending = [point for point in status.removed if point.state is RemovalState.PENDING]
    if pending:
        if not is_deleting(chain):
            return None
        guard = await look_for_guard(ctx, seen.namespace)
        if guard is None and seen.repository is None:
            guard = Kept(f"there is no BackupRepository {seen.repository_name} any more", warning=True)
        if guard is None and all(is_out_of_reach(point, view) for point in pending):
            guard = Kept(
                "manifests of this chain can't be read by this version, theirs may be among them", warning=True
            )
        if guard is None:
            return ctx.settings.wait_poll_seconds
        text = f"{len(pending)} removed restore points stay in the repository: {guard.message}"
        await ctx.events.post(chain, "Warning", "RestorePointKept", text)
    fresh = await find(ctx.cluster, BACKUP_CHAIN, seen.namespace, chain["metadata"]["name"])
    if fresh is not None and fresh["metadata"]["uid"] == chain["metadata"]["uid"]:
        await remove_finalizers(ctx.cluster, BACKUP_CHAIN, fresh, names.FINALIZER_REMOVALS)
    return None
