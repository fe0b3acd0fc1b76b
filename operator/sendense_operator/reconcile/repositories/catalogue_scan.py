"""A maintenance pod: what it is requested to do besides its probe, and what is done with its catalogue."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.backupchain import RemovalState, RemovedPoint
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec, BackupRepositoryStatus, Catalogue
from sendense_operator.catalogue_format import CatalogueError, read_catalogue
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.adoption import REASON_REJECTED, STATUS_ERRORS, adopt, carry_out, why_rejected
from sendense_operator.reconcile.backups.finish import UNSEEN_REASONS
from sendense_operator.reconcile.catalogue.decisions import (
    ScanVerdict,
    changed_chains,
    decide_adoptions,
    judge_backup,
    known_backup,
    merge_scan,
    sort_records,
)
from sendense_operator.reconcile.catalogue.removal import grace_left, is_retained_now
from sendense_operator.reconcile.repositories.retry_backoff import (
    MaintenanceStep,
    back_off,
    clear_backoff,
    remaining_backoff,
    steps_of,
)
from sendense_operator.reconcile.state.context import ChainContext, ReconcileContext, RepositoryContext
from sendense_operator.reconcile.state.formatting import parse_time
from sendense_operator.reconcile.state.keys import ChainKey, Key
from sendense_operator.reconcile.state.kubernetes_objects import created, ready_condition
from sendense_operator.reconcile.state.records import KnownBackup, RepositoryCatalogue, ScanResult
from sendense_operator.reconcile.workload.worker_pod import CONTAINER
from sendense_operator.task import MAX_REMOVALS, Answer, CatalogueSeal, FullReason, ProbeTask, Removal

MAX_FOLDERS: Final = 32
_ENDED_WITHOUT: Final = frozenset({Phase.FAILED, Phase.CANCELLED})
_log = logging.getLogger(__name__)

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
    request = str((repository["metadata"].get("annotations") or {}).get(names.ANNOTATION_SCAN, ""))[:256]
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
    for removal, point in await _of_chains(ctx, repository, pending_removals):
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


async def _of_chains(ctx: ReconcileContext, repository: Obj, take: Callable[[Obj], list[T]]) -> list[T]:
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
        if not raw.get("neededBy") and raw.get("state") != RemovalState.RETAINED
        if is_wanted(point := RemovedPoint.model_validate(raw))
    ]


async def count_points(ctx: ChainContext, repository: Obj) -> int:
    """Restore points that are there now, as the repository's chains say."""
    key = ObjectKey.of(repository)
    known = ctx.repository_hints.point_counts.get(key)
    if known is None:
        known = sum(await _of_chains(ctx, repository, _points))
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


@dataclass(frozen=True)
class TakenIn:
    """How far a pod's catalogue was acted on."""

    is_complete: bool = True
    """Else it is to be gone on with."""
    catalogue: Catalogue | None = None
    """What a scan found, for the repository's status; None: nothing new."""


async def take_in(
    ctx: RepositoryContext, repository: Obj, job: Obj, pod: Obj | None, task: ProbeTask, answer: Answer
) -> TakenIn:
    """Act on the catalogue of a pod that ended well.

    Repeating it changes nothing more: a controller may die at any write. What can't be read concludes nothing.
    """
    if answer.catalogue is None:
        return TakenIn()
    key, uid = ObjectKey.of(repository), job["metadata"]["uid"]
    try:
        reported = ctx.maintenance_hints.reported.get(uid) or await _read(ctx, job, pod, task, answer, answer.catalogue)
    except (CatalogueError, ClusterError) as error:
        hold_all(ctx, repository, task, "its catalogue can't be read")
        _log.warning("the catalogue of repository %s can't be read: %s", key, error)
        text = f"its catalogue can't be read, so nothing is concluded from it: {error}"
        await ctx.events.post(repository, "Warning", "ScanIncomplete", text)
        return TakenIn()
    if task.remove:
        clear_backoff(ctx, repository, MaintenanceStep.REMOVAL)
    before = ctx.repository_hints.catalogues.get(key)
    ctx.repository_hints.catalogues.put(key, merge_scan(before, reported))
    for vm in changed_chains(before, reported):
        ctx.again(Key.of_chain(key.namespace, ChainKey(vm, key.name)))
    ctx.maintenance_hints.reported.put(uid, reported)
    taken = TakenIn() if reported.root is None else await _apply(ctx, repository, task, reported)
    if taken.is_complete:
        ctx.maintenance_hints.reported.pop(uid)
    return taken


async def _read(
    ctx: ReconcileContext, job: Obj, pod: Obj | None, task: ProbeTask, answer: Answer, seal: CatalogueSeal
) -> ScanResult:
    """Return what a pod reported. Raises CatalogueError, ClusterError."""
    if pod is None:
        raise CatalogueError("the pod is gone, and its log with it")
    lines = await ctx.cluster.read_log(job["metadata"]["namespace"], pod["metadata"]["name"], CONTAINER)
    # Tens of thousands of records take a second, which would hold up everything else.
    reported = await asyncio.to_thread(lambda: sort_records(read_catalogue(lines, seal), created(job), task.remove))
    return replace(reported, repository_id=answer.repository_id)


def hold_all(ctx: RepositoryContext, repository: Obj, task: ProbeTask, why: str) -> None:
    """Nothing came about of what a pod was asked for."""
    for duty in steps_of(task):
        back_off(ctx, repository, duty, why, task.scan_request if duty is MaintenanceStep.SCAN else "")


async def _apply(ctx: RepositoryContext, repository: Obj, task: ProbeTask, reported: ScanResult) -> TakenIn:
    namespace, name = repository["metadata"]["namespace"], repository["metadata"]["name"]
    # Before the chains: a Backup that goes meanwhile is in its chain's status by then.
    backups = await collect(ctx.cluster, BACKUP, namespace, known_backup, fields=f"spec.repositoryRef.name={name}")
    status = BackupRepositoryStatus.model_validate(repository.get("status") or {})
    last = status.catalogue
    everything = last is None or last.time is None or (task.scan_request and task.scan_request != last.request)
    gone = await _of_chains(ctx, repository, removed_points)
    removed = frozenset(point.uid for point in gone if not (everything and point.state is RemovalState.RETAINED))
    if await adopt(ctx, repository, decide_adoptions(reported, backups, removed)):
        return TakenIn(is_complete=False)  # looked at once more: these have Backups then
    lost = 0
    for judgement in judge_backup(reported, backups):
        lost += judgement.verdict is ScanVerdict.LOST
        try:
            await carry_out(ctx, namespace, judgement)
        except STATUS_ERRORS as error:  # it must not keep the others waiting
            text = f"the result of a scan for Backup {judgement.name} does not fit the API: {why_rejected(error)}"
            await ctx.events.post(repository, "Warning", REASON_REJECTED, text)
    ctx.repository_messages.withdraw_scan_request(ObjectKey.of(repository))
    if reported.is_complete:
        clear_backoff(ctx, repository, MaintenanceStep.SCAN)
    else:
        back_off(ctx, repository, MaintenanceStep.SCAN, _incomplete(reported), task.scan_request)
        await ctx.events.post(repository, "Warning", "ScanIncomplete", _incomplete(reported))
    return TakenIn(catalogue=summarise(reported, last, backups, task.scan_request, lost))


def summarise(
    reported: ScanResult, last: Catalogue | None, backups: list[KnownBackup], request: str, lost: int
) -> Catalogue:
    """Summarise a scan for the repository's status. An incomplete one keeps the last complete one's time."""
    chains = [view.chain for view in reported.chains.values()]
    damaged = sum(bool(point.damage) for view in reported.chains.values() for point in view.points.values())
    root = reported.root
    complete = reported.is_complete
    return Catalogue(
        time=reported.taken if complete else last.time if last else None,
        request=request if complete else last.request if last else "",
        points=sum(len(view.points) for view in reported.chains.values()),
        chains=sum(1 for view in reported.chains.values() if view.points),
        adopted=sum(backup.adopted is not None and backup.adopted >= reported.taken for backup in backups),
        lost=lost,
        damaged=damaged,
        waiting=sum(len(view.tombstones) for view in reported.chains.values()),
        unknown_files=sum(chain.unknown for chain in chains) + (root.unknown if root else 0),
        quarantined=sum(chain.quarantined for chain in chains),
        unreadable=sum(chain.unreadable for chain in chains),
        newer=sum(chain.newer for chain in chains),
        other_folders=[folder[:256] for folder in (root.other_folders if root else ())][:MAX_FOLDERS],
    )


def _incomplete(reported: ScanResult) -> str:
    bad = [view.chain.vm for view in reported.chains.values() if not view.chain.complete]
    what = f"the folders of {', '.join(bad[:5])}" if bad else "the repository's folders"
    return f"{what} could not all be listed: nothing is concluded from what is missing there"
