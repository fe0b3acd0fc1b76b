"""BackupChain: the restore points of one VM in one repository, and the end of those whose Backups are deleted.

One place decides about the files of deleted Backups, so that no two checks disagree. The order of its writes keeps a
removal from being forgotten: first the chain is held, then it lists the point as removed, then the Backup may go.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backupchain import BackupChainSpec, BackupChainStatus, RemovalState, RemovedPoint
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.base import LocalRef
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus, VMDisk
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError, NotFoundError
from sendense_operator.cluster.kinds import BACKUP_CHAIN, JOB, PROTECTED_VM
from sendense_operator.cluster.object_names import chain_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import add_finalizers, has_finalizer, remove_finalizers, write_status
from sendense_operator.reconcile.catalogue.immutable_points import seconds_left
from sendense_operator.reconcile.catalogue.ownership import owns_point, point_uid
from sendense_operator.reconcile.catalogue.point_changes import changed_point
from sendense_operator.reconcile.catalogue.removal import (
    Kept,
    describe_freed,
    freed_points,
    is_out_of_reach,
    is_retained_now,
    look_for_guard,
    merge_removed,
)
from sendense_operator.reconcile.chain_jobs.job_queue import leave_queue
from sendense_operator.reconcile.chains.chain_status import ChainFacts, describe_chain
from sendense_operator.reconcile.chains.deleted_backups import RETAINED, find_deleted, let_go
from sendense_operator.reconcile.chains.expiry import delete_expired, delete_old_failures
from sendense_operator.reconcile.chains.freeing_obstacles import freeing_change
from sendense_operator.reconcile.chains.observed_chain import ObservedChain, observe_chain, retention_facts
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.retention_reports import RetentionReport
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.verification_reports import VerificationReport
from sendense_operator.reconcile.repositories.maintenance_request import has_doubts, is_unexplained
from sendense_operator.reconcile.state.context import ChainContext, ChainJobContext, ReconcileContext
from sendense_operator.reconcile.state.formatting import utc_stamp
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.reconcile.verification.chain_verification import (
    VerificationStep,
    VerifiedChain,
    advance_verification,
)
from sendense_operator.reconcile.workload.chain_job import KINDS

_AGAIN_S: Final = 1.0
_RETRY_S: Final = 60.0
"""Seconds until Backups are deleted again that the API server did not let go."""
_SUMMARY_S: Final = 2.0
"""Seconds until a policy sums up its chains: those of a thousand VMs may report at once."""


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
    known = ctx.repository_hints.catalogues.get(seen.repository_key)
    view = known.chains.get(vm) if known is not None else None
    verification = await advance_verification(
        ctx,
        VerifiedChain(namespace, seen.key, chain, seen.points, seen.repository),
        index.ruling(namespace, vm, repository),
    )
    status, more = await _write(ctx, index, seen, chain, deleted.removals(listed), view, verification)
    if (ended := verification.ended) is not None:
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
    immutable = deleted.seconds_left(ctx.now())
    return _AGAIN_S if deleted.has_more else _soonest(more, rest, immutable, verification.delay)


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


async def _write(
    ctx: ChainContext,
    index: ProtectionIndex,
    seen: ObservedChain,
    chain: Obj,
    new: list[RemovedPoint],
    view: ChainView | None,
    verification: VerificationStep,
) -> tuple[BackupChainStatus, float | None]:
    """Return the status as written, and seconds until more Backups are to be deleted."""
    old = BackupChainStatus.model_validate(chain.get("status") or {})
    owned = {point_uid(obj) for obj in seen.backups if owns_point(obj)}
    # What has a Backup again is removed or retained when that one is deleted, and not before. What is immutable is
    # listed for as long as its Backup is there.
    before = [point for point in old.removed if point.uid not in owned and point.state is not RemovalState.IMMUTABLE]
    spec = seen.repository_spec
    removed = [_by_policy(point, spec) for point in merge_removed(before, new, view)]
    policy = index.ruling(seen.namespace, *seen.key)
    facts = ChainFacts(
        seen.points,
        removed,
        await _disks(ctx, seen),
        _max_depth(seen.repository),
        view,
        retention_facts(seen, policy),
        verification=verification.status,
        verified=verification.report,
        repository=spec,
    )
    generation, now = chain["metadata"].get("generation"), ctx.now()
    described = describe_chain(old, facts, generation=generation, now=now)
    if policy is not None and described.retention is not None:
        facts.rejected = await delete_expired(ctx, chain, seen.backups, described.retention, policy)
        if facts.rejected:
            described = describe_chain(old, facts, generation=generation, now=now)
    status = described.status
    written = await write_status(ctx.cluster, BACKUP_CHAIN, chain, status)
    _report(ctx, index, seen, policy, described.report, verification.report)
    if status.points != old.points:
        ctx.repository_hints.point_counts.pop(seen.repository_key)
        ctx.again(Key(Work.REPOSITORY, *seen.repository_key))
    if written and (freed := freed_points(before, view)):
        await ctx.events.post(chain, "Normal", "RestorePointFreed", describe_freed(freed))
    if written and (change := freeing_change(old, status)):
        await ctx.events.post(chain, change.kind, change.reason, change.message)
    if view is not None and _waits_for_writer(view, status.removed) and _is_older(view, status):
        ctx.repository_messages.request_probe(seen.repository_key)
        ctx.again(Key(Work.REPOSITORY, *seen.repository_key))
    if described.retention is None or not described.retention.to_delete:
        held = described.retention.held_until if described.retention is not None else None
        return status, seconds_left(held, now) if held is not None else None
    return status, _RETRY_S if facts.rejected else _AGAIN_S


async def _disks(ctx: ReconcileContext, seen: ObservedChain) -> list[VMDisk]:
    vm = await find(ctx.cluster, PROTECTED_VM, seen.namespace, seen.vm)
    return ProtectedVMStatus.model_validate((vm or {}).get("status") or {}).disks


def _report(
    ctx: ReconcileContext,
    index: ProtectionIndex,
    seen: ObservedChain,
    policy: PolicyEntry | None,
    retention: RetentionReport | None,
    verification: VerificationReport | None,
) -> None:
    """Let the policy say what became of its retention and its verification."""
    name = policy.name if policy is not None else None
    required = verification if policy is not None and policy.verification is not None else None
    changed = index.retention.put(seen.namespace, seen.key, name, retention)
    changed += index.verification.put(seen.namespace, seen.key, name, required)
    for one in changed:
        ctx.again(Key(Work.POLICY, *one), _SUMMARY_S)


def _by_policy(point: RemovedPoint, spec: BackupRepositorySpec | None) -> RemovedPoint:
    """Return the removed point with the end of its grace, or retained where the repository says Retain by now."""
    if point.state is RemovalState.IMMUTABLE:
        return point
    if spec is not None and is_retained_now(point, spec):
        return changed_point(point, state=RemovalState.RETAINED, kept_until=None)
    grace = spec.deletion_grace_seconds if spec is not None else 0
    until = point.since + timedelta(seconds=grace) if grace and point.state is RemovalState.PENDING else None
    return point if point.kept_until == until else changed_point(point, kept_until=until)


def _waits_for_writer(view: ChainView, removed: list[RemovedPoint]) -> bool:
    """Return whether a removal or freeing is left because the chain was in use."""
    return any(is_unexplained(point) or (view.chain.busy and point.state is RemovalState.PENDING) for point in removed)


def _is_older(view: ChainView, status: BackupChainStatus) -> bool:
    """Return whether a backup has ended since the repository's pod looked: the chain is free now."""
    return status.latest_time is not None and status.latest_time > view.taken


def _max_depth(repository: Obj | None) -> int:
    default = BackupRepositorySpec.model_fields["max_chain_depth"].default
    return int((repository or {}).get("spec", {}).get("maxChainDepth", default))


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
