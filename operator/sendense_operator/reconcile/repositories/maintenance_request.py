"""What a repository's next maintenance pod is requested to do besides its probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.backupchain import RemovalState, RemovedPoint
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, BackupRepositoryStatus
from sendense_operator.cluster.kinds import BACKUP_CHAIN
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.finish import UNSEEN_REASONS
from sendense_operator.reconcile.catalogue.removal import grace_left, is_retained_now
from sendense_operator.reconcile.repositories.retry_backoff import (
    MaintenanceStep,
    remaining_backoff,
)
from sendense_operator.reconcile.state.context import ChainContext, ReconcileContext, RepositoryContext
from sendense_operator.reconcile.state.kubernetes_objects import ready_condition, requested_by
from sendense_operator.reconcile.state.records import RepositoryCatalogue
from sendense_operator.task import MAX_REMOVALS, FullReason, Removal

_ENDED_WITHOUT: Final = frozenset({Phase.FAILED, Phase.CANCELLED})

T = TypeVar("T")


@dataclass(frozen=True)
class MaintenanceRequest:
    """What the next pod is to do besides looking."""

    remove: tuple[Removal, ...] = ()
    urgent: bool = False
    """Whether a removal waits that no pod has received yet."""
    scan: bool = False
    request: str = ""
    """Value of the annotation that the scan answers."""
    held_s: float = math.inf
    """Seconds until something may be tried again that failed."""

    @property
    def is_due(self) -> bool:
        """Whether a pod is wanted now."""
        return self.urgent or self.scan


async def wanted(ctx: RepositoryContext, repository: Obj) -> MaintenanceRequest:
    """Return what is to be done in a repository now."""
    key = ObjectKey.of(repository)
    known = ctx.repository_hints.catalogues.get(key)
    request = requested_by(repository, names.ANNOTATION_SCAN)
    remove, grace = await _pending_removals(ctx, repository)
    scan = ctx.repository_messages.is_scan_requested(key) or scan_is_due(ctx, repository, request)
    scan_rest = remaining_backoff(ctx, repository, MaintenanceStep.SCAN, request) if scan else 0.0
    removal_rest = remaining_backoff(ctx, repository, MaintenanceStep.REMOVAL) if remove else 0.0
    remove = remove if not removal_rest else ()
    return MaintenanceRequest(
        remove=remove,
        urgent=any(not _was_asked(known, removal) for removal in remove),
        scan=scan and not scan_rest,
        request=request,
        held_s=min((rest for rest in (scan_rest, removal_rest, grace) if rest), default=math.inf),
    )


async def _pending_removals(ctx: ReconcileContext, repository: Obj) -> tuple[tuple[Removal, ...], float]:
    """Restore points that the repository still has to forget, at most MAX_REMOVALS.

    And the seconds until the next one may be removed that was deleted within `spec.deletionGraceSeconds`; 0: none.
    """
    spec, now = BackupRepositorySpec.model_validate(repository["spec"]), ctx.now()
    due, rests = list[tuple[Removal, RemovedPoint]](), list[float]()
    for removal, point in await of_chains(ctx, repository, pending_removals):
        if rest := grace_left(point, spec, now):
            rests.append(rest)
        elif not is_retained_now(point, spec):
            due.append((removal, point))
    return first_removals(due), min(rests, default=0.0)


def first_removals(found: Sequence[tuple[Removal, RemovedPoint]]) -> tuple[Removal, ...]:
    """At most MAX_REMOVALS of what `pending_removals` found.

    Those that wait to be freed come last: asking for them only has their chains looked at again.
    """
    removals = sorted(found, key=lambda one: is_unexplained(one[1]))
    return tuple(removal for removal, _ in removals[:MAX_REMOVALS])


async def of_chains(ctx: ReconcileContext, repository: Obj, take: Callable[[Obj], list[T]]) -> list[T]:
    """Return what `take` finds in the chains of a repository."""
    meta = repository["metadata"]
    fields = f"spec.repositoryRef.name={meta['name']}"
    found = await collect(ctx.cluster, BACKUP_CHAIN, meta["namespace"], take, fields=fields)
    return [one for of_one in found for one in of_one]


def pending_removals(chain: Obj) -> list[tuple[Removal, RemovedPoint]]:
    """Restore points of a chain that its repository still has to forget, and what the chain says of each.

    Of the status nothing else is read: this is asked for at each check, of chains with hundreds of points.
    """
    vm = chain["spec"]["vmRef"]["name"]
    return [
        (Removal(vm=vm, backup=point.backup, backup_uid=point.uid), point)
        for raw in _removed(chain)
        if not raw.get("neededBy") and raw.get("state") not in (RemovalState.RETAINED, RemovalState.IMMUTABLE)
        if is_wanted(point := RemovedPoint.model_validate(raw))
    ]


async def count_points(ctx: ChainContext, repository: Obj) -> int:
    """Restore points that are there now, as the repository's chains say."""
    key = ObjectKey.of(repository)
    known = ctx.repository_hints.point_counts.get(key)
    if known is None:
        known = sum(await of_chains(ctx, repository, _points))
        ctx.repository_hints.point_counts.put(key, known)
    return known


def _points(chain: Obj) -> list[int]:
    return [int((chain.get("status") or {}).get("points") or 0)]


def removed_points(chain: Obj) -> list[RemovedPoint]:
    """Return what a chain's status says of removed restore points."""
    return [RemovedPoint.model_validate(raw) for raw in _removed(chain)]


def _removed(chain: Obj) -> list[Obj]:
    return (chain.get("status") or {}).get("removed") or []


def is_wanted(point: RemovedPoint) -> bool:
    """Return whether the repository has to be notified of a removed point."""
    return point.state is RemovalState.PENDING or is_unexplained(point)


def is_unexplained(point: RemovedPoint) -> bool:
    """Return whether the layers of a removed point stay only since their chain was in use when the pod looked."""
    return point.state is RemovalState.NEEDED and point.needed_by is None


def _was_asked(known: RepositoryCatalogue | None, removal: Removal) -> bool:
    view = known.chains.get(removal.vm) if known is not None else None
    return view is not None and removal.backup_uid in view.asked


def scan_is_due(ctx: ReconcileContext, repository: Obj, request: str) -> bool:
    """Return whether a repository was never scanned, not for its interval, or a scan is asked for."""
    status = BackupRepositoryStatus.model_validate(repository.get("status") or {})
    if status.catalogue is None or status.catalogue.time is None:
        return True
    if request and request != status.catalogue.request:
        return True
    spec = BackupRepositorySpec.model_validate(repository["spec"])
    age = (ctx.now() - status.catalogue.time).total_seconds()
    return age < 0 or age >= spec.scan_interval_seconds


def has_doubts(backups: list[Obj], repository: Obj | None, known: RepositoryCatalogue | None) -> bool:
    """Return whether one of these Backups ended since the last scan in a way that only a scan explains.

    Read from the objects, so that a controller which dies forgets nothing of it.
    """
    catalogue = BackupRepositoryStatus.model_validate((repository or {}).get("status") or {}).catalogue
    if catalogue is None or catalogue.time is None:
        return False  # the first scan is due anyway
    # The one that was just read is in the status only a moment later.
    since = max(filter(None, (catalogue.time, known.taken if known else None)))
    for backup in backups:
        status = backup.get("status") or {}
        ended = parse_time(status.get("completionTime"))
        if ended is None or ended <= since:
            continue
        if status.get("workerDeath") and status.get("phase") in _ENDED_WITHOUT:
            return True  # whatever kept the check of what it had committed from its end
        ready = ready_condition(backup)
        reasons = {disk.get("reason") for disk in status.get("disks") or ()} | {ready["reason"] if ready else None}
        if reasons & {FullReason.PARENT_UNVERIFIED, *UNSEEN_REASONS}:
            return True
    return False
