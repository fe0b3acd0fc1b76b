"""Writing a chain's status: derived from its Backups, the repository's catalogue, and the Jobs that work on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus, RemovalState, RemovedPoint
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus, VMDisk
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP_CHAIN, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.reconcile.catalogue.immutable_points import seconds_left
from sendense_operator.reconcile.catalogue.ownership import owns_point, point_uid
from sendense_operator.reconcile.catalogue.point_changes import changed_point
from sendense_operator.reconcile.catalogue.removal import (
    describe_freed,
    freed_points,
    is_retained_now,
    merge_removed,
)
from sendense_operator.reconcile.chain_jobs.worked_chain import WorkedChain
from sendense_operator.reconcile.chains.chain_status import ChainFacts, describe_chain
from sendense_operator.reconcile.chains.expiry import delete_expired
from sendense_operator.reconcile.chains.freeing_obstacles import freeing_change
from sendense_operator.reconcile.chains.observed_chain import ObservedChain, retention_facts
from sendense_operator.reconcile.consolidation.consolidation_steps import ConsolidationStep, advance_consolidation
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.retention_reports import RetentionReport
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.verification_reports import VerificationReport
from sendense_operator.reconcile.repositories.maintenance_request import is_unexplained
from sendense_operator.reconcile.state.context import ChainJobContext, ReconcileContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.reconcile.verification.chain_verification import VerificationStep

_AGAIN_S: Final = 1.0
_RETRY_S: Final = 60.0
"""Seconds until Backups are deleted again that the API server did not let go."""
_SUMMARY_S: Final = 2.0
"""Seconds until a policy sums up its chains: those of a thousand VMs may report at once."""


@dataclass(frozen=True)
class ChainSteps:
    """What the Jobs that work on the chain came to, before its status is derived."""

    chain: WorkedChain
    verification: VerificationStep
    consolidation: ConsolidationStep


async def write_chain(
    ctx: ChainJobContext,
    index: ProtectionIndex,
    seen: ObservedChain,
    new: list[RemovedPoint],
    view: ChainView | None,
    steps: ChainSteps,
) -> tuple[BackupChainStatus, float | None]:
    """Return the status as written, and seconds until more Backups are to be deleted."""
    chain = steps.chain.obj
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
        verification=steps.verification.status,
        verified=steps.verification.report,
        repository=spec,
    )
    generation, now = chain["metadata"].get("generation"), ctx.now()
    described = describe_chain(old, facts, generation=generation, now=now)
    if policy is not None and described.retention is not None:
        facts.rejected = await delete_expired(ctx, chain, seen.backups, described.retention, policy)
        if facts.rejected:
            described = describe_chain(old, facts, generation=generation, now=now)
    status = described.status
    await advance_consolidation(ctx, steps.chain, steps.consolidation, status)
    status.consolidation = steps.consolidation.status
    written = await write_status(ctx.cluster, BACKUP_CHAIN, chain, status)
    _report(ctx, index, seen, policy, described.report, steps.verification.report)
    if status.points != old.points:
        ctx.repository_hints.point_counts.pop(seen.repository_key)
        ctx.again(Key(Work.REPOSITORY, *seen.repository_key))
    if written and not steps.consolidation.has_reported and (freed := freed_points(before, view)):
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
