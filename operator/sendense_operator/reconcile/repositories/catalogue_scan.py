"""What is done with the catalogue that a maintenance pod reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1.backupchain import RemovalState
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositoryStatus, Catalogue
from sendense_operator.catalogue_format import CatalogueError
from sendense_operator.cluster.errors import ClusterError
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.logs import get_logger
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.backups.adoption import REASON_REJECTED, STATUS_ERRORS, adopt, carry_out, why_rejected
from sendense_operator.reconcile.catalogue.decisions import (
    ScanVerdict,
    decide_adoptions,
    judge_backup,
)
from sendense_operator.reconcile.catalogue.known_backups import known_backup
from sendense_operator.reconcile.repositories.catalogue_reading import merge_reported, read_reported
from sendense_operator.reconcile.repositories.maintenance_request import of_chains, removed_points
from sendense_operator.reconcile.repositories.retry_backoff import (
    MaintenanceStep,
    back_off,
    clear_backoff,
    steps_of,
)
from sendense_operator.reconcile.state.context import RepositoryContext
from sendense_operator.reconcile.state.records import KnownBackup, ScanResult
from sendense_operator.task import ProbeTask

MAX_FOLDERS: Final = 32
_log = get_logger(__name__)


@dataclass(frozen=True)
class TakenIn:
    """How far a pod's catalogue was acted on."""

    is_complete: bool = True
    """False: a batch was done, and `take_in` is to be called again."""
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
        reported = ctx.maintenance_hints.reported.get(uid)
        if reported is None:
            found = await read_reported(ctx, job, pod, answer.catalogue, task.remove)
            reported = replace(found, repository_id=answer.repository_id)
    except (CatalogueError, ClusterError) as error:
        hold_all(ctx, repository, task, "its catalogue can't be read")
        _log.warning("the catalogue can't be read", repository=key, error=error)
        text = f"its catalogue can't be read, so nothing is concluded from it: {error}"
        await ctx.events.post(repository, "Warning", "ScanIncomplete", text)
        return TakenIn()
    if task.remove:
        clear_backoff(ctx, repository, MaintenanceStep.REMOVAL)
    merge_reported(ctx, key, reported)
    ctx.maintenance_hints.reported.put(uid, reported)
    taken = TakenIn() if reported.root is None else await _apply(ctx, repository, task, reported)
    if taken.is_complete:
        ctx.maintenance_hints.reported.pop(uid)
    return taken


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
    gone = await of_chains(ctx, repository, removed_points)
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
