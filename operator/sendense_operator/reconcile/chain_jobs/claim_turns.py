"""Who may have a claim that one pod at a time can use: Backups, Restores and maintenance come before Jobs of chains."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, CLAIM, RESTORE
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.kubernetes_objects import in_no_phase_of, is_deleting
from sendense_operator.reconcile.workload.chain_job import KINDS, ChainJobKind, live_jobs
from sendense_operator.reconcile.workload.claims import is_exclusive

_UNFINISHED: Final = in_no_phase_of(conditions.TERMINAL_PHASES)


async def wants_claim(ctx: ChainJobContext, place: ObjectKey, repository: Obj | None) -> bool:
    """Return whether a Backup, a Restore or a maintenance pod needs a claim that one pod at a time can use.

    Raises ClusterError.
    """
    if repository is None or not await _is_exclusive(ctx, place, repository):
        return False
    if ctx.repository_messages.is_claim_requested(place):
        return True
    fields = f"spec.repositoryRef.name={place.name},{_UNFINISHED}"
    if await collect(ctx.cluster, BACKUP, place.namespace, _needs_worker, fields=fields):
        return True
    fields = f"status.restorePoint.repositoryName={place.name},{_UNFINISHED}"
    return bool(await collect(ctx.cluster, RESTORE, place.namespace, _has_worker, fields=fields))


async def find_holder(ctx: ChainJobContext, kind: ChainJobKind, place: ObjectKey, repository: Obj) -> str:
    """Return what other kind of Job of a chain holds a claim that one pod at a time can use; empty: none does.

    A shared claim is no obstacle. Raises ClusterError.
    """
    others = [other for other in KINDS if other is not kind]
    if not await _is_exclusive(ctx, place, repository):
        return ""
    for other in others:
        if await live_jobs(ctx.cluster, other, place):
            return other.words
    return ""


async def _is_exclusive(ctx: ChainJobContext, place: ObjectKey, repository: Obj) -> bool:
    claim = await find(ctx.cluster, CLAIM, place.namespace, repository["spec"]["claimName"])
    return claim is not None and is_exclusive(claim)


def _has_worker(restore: Obj) -> bool | None:
    """Return True for a Restore that has a worker; None for one that waits for something else than its pod."""
    return True if (restore.get("status") or {}).get("workerJob") and not is_deleting(restore) else None


def _needs_worker(backup: Obj) -> bool | None:
    """Return True for a Backup that has a worker or waits for one; None for one that only waits for a scan."""
    status = backup.get("status") or {}
    copies = not backup["spec"].get("adopt") and status.get("phase") in (None, "", Phase.PENDING, Phase.RUNNING)
    return True if copies and not is_deleting(backup) else None
