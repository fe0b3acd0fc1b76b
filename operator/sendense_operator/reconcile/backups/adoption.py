"""What a catalogue changes in this cluster: Backups for restore points, the word on those there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Final

from pydantic import ValidationError

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.catalogue_format import PointRecord
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_REPOSITORY
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import whole_seconds
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.backups.damage_conditions import with_damage
from sendense_operator.reconcile.backups.finish import chain_key, record
from sendense_operator.reconcile.backups.layer_refresh import follow_manifest
from sendense_operator.reconcile.backups.status_changes import DerivedChanges, changed_status
from sendense_operator.reconcile.catalogue.decisions import (
    Judgement,
    ScanVerdict,
    adopted_names,
    build_adopted,
    is_missing,
    owned_by_another,
    why_unread,
)
from sendense_operator.reconcile.catalogue.known_backups import known_backup
from sendense_operator.reconcile.catalogue.ownership import (
    REASON_OWNED,
    find_point,
    identify,
    owner_of,
    point_uid,
)
from sendense_operator.reconcile.state.context import ChainContext, ReconcileContext, RestorePointContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import created, is_deleting, ready_condition
from sendense_operator.reconcile.state.records import RepositoryCatalogue

STATUS_ERRORS: Final = (ValidationError, InvalidError)
"""What says that no status can hold what a manifest says; repeated, it would end the same way."""
REASON_REJECTED: Final = "StatusRejected"
BATCH: Final = 1000
"""Backups made in one go. Between two, the Backups that there are are listed once more."""
_RESCAN: Final = timedelta(minutes=5)
"""Between scans for a restore point whose chain was in use."""
_ABREAST: Final = 8
"""Backups made at the same time: a large repository must not flood the API server."""


async def reconcile_adopted(ctx: RestorePointContext, backup: ObservedBackup) -> float | None:
    """Adopt: fill the status of a Backup from a restore point in the repository. No worker is started."""
    known = ctx.repository_hints.catalogues.get(backup.repository_key)
    view = known.chains.get(backup.spec.vm_ref.name) if known is not None else None
    point = find_point(backup.obj, view) if view is not None else None
    if point is not None and (owner := await _other_owner(ctx, backup, point.backup_uid)):
        text = owned_by_another(point.backup_uid, owner)
        await publish(ctx, backup, conditions.stalled(REASON_OWNED, text))
        return 0.0
    if point is not None:
        try:
            await _record(ctx, backup, point)
        except STATUS_ERRORS as error:
            text = f"the content of {point.manifest} does not fit the API: {why_rejected(error)}"
            await publish(ctx, backup, conditions.stalled(REASON_REJECTED, text))
        return None  # what is left to do for it, its new status tells
    if known is not None and is_missing(known, backup.obj, backup.spec.vm_ref.name):
        await publish(ctx, backup, conditions.stalled(conditions.REASON_LOST, _missing(backup)), adopted=True)
        return 0.0
    waits = await _awaited(ctx, backup, known)
    if ctx.now() - created(backup.obj) > timedelta(seconds=backup.spec.start_deadline_seconds):
        text = f"not found within spec.startDeadlineSeconds ({backup.spec.start_deadline_seconds} s): {waits}"
        state = conditions.stalled(
            conditions.REASON_LOST, f"{text}. A scan that finds its restore point brings it back"
        )
        await publish(ctx, backup, state, adopted=True)
        return 0.0
    await publish(ctx, backup, conditions.reconciling("Adopting", waits), adopted=True)
    # A removal of this restore point that nobody has carried out is withdrawn.
    ctx.again(chain_key(backup))
    return ctx.settings.wait_poll_seconds


def _missing(backup: ObservedBackup) -> str:
    repository = backup.spec.repository_ref.name
    if backup.spec.adopt is not None:
        return f"repository {repository} holds no restore point of UID {backup.spec.adopt.uid}"
    return (
        f"repository {repository} holds no restore point of Backup {backup.name}, of which this object is a copy "
        f"(label {names.LABEL_PHASE}={Phase.COMPLETED}). Nothing is copied: delete it and create a new Backup without "
        "that label"
    )


async def _other_owner(ctx: RestorePointContext, backup: ObservedBackup, uid: str) -> str:
    """Return the name of the Backup that owns the restore point `uid`; empty: this one does."""
    if ctx.backup_hints.was_created_by_scan(backup.uid):
        return ""  # the scan that created it had seen all Backups
    fields = f"spec.vmRef.name={backup.spec.vm_ref.name},spec.repositoryRef.name={backup.spec.repository_ref.name}"
    known = await collect(ctx.cluster, BACKUP, backup.namespace, known_backup, fields=fields)
    view = ctx.repository_hints.catalogues.get(backup.repository_key)
    owner = owner_of(uid, identify(known, view.chains if view is not None else {}))
    return owner.name if owner is not None and owner.uid != backup.uid else ""


def why_rejected(error: Exception) -> str:
    """Of an error of STATUS_ERRORS, for a message."""
    return str(error.errors(include_input=False)[0]["msg"]) if isinstance(error, ValidationError) else str(error)


async def _awaited(ctx: ChainContext, backup: ObservedBackup, known: RepositoryCatalogue | None) -> str:
    """Return what an adopting Backup waits for, in words. A scan is asked for, once."""
    namespace, name = backup.namespace, backup.spec.repository_ref.name
    repository = await find(ctx.cluster, BACKUP_REPOSITORY, namespace, name)
    if repository is None or is_deleting(repository):
        return f"there is no BackupRepository {name}, which knows this restore point"
    if known is not None and (unread := why_unread(known, backup.obj, backup.spec.vm_ref.name)):
        return unread  # one more scan would tell the same
    view = known.chains.get(backup.spec.vm_ref.name) if known is not None else None
    if view is not None and view.chain.busy and created(backup.obj) < view.taken > ctx.now() - _RESCAN:
        return "a backup is writing its chain, so that it may not have been seen: scanned again in a few minutes"
    if ctx.repository_messages.request_scan(backup.repository_key):
        ctx.again(Key(Work.REPOSITORY, *backup.repository_key))
    ready = ready_condition(repository)
    if ready is not None and ready["status"] != "True":
        return f"waiting for repository {name}, which is not ready: {ready['reason']}: {ready.get('message', '')}"
    return f"waiting for a scan of repository {name}, which knows this restore point"


async def _record(ctx: RestorePointContext, backup: ObservedBackup, point: PointRecord) -> None:
    known = ctx.repository_hints.catalogues.get(backup.repository_key)
    answer = Answer(
        outcome="Completed",
        job_id=point.job_id,
        repository_id=known.repository_id if known is not None else "",
        manifest=point.manifest,
        retain_until=point.retain_until,
        disks=point.disks,
        hardware=point.hardware,
        started=point.started,
        finished=point.finished,
        adopted=True,
    )
    await record(
        ctx,
        backup,
        answer,
        adopted=True if backup.copies_nothing else backup.status.adopted,
        restore_point_uid=point.backup_uid,
        vm_name=point.vm_name or backup.status.vm_name,
        chain_name=backup.chain_key.object_name,
        start_time=whole_seconds(point.started),
        completion_time=whole_seconds(point.finished),
    )
    await say_damage(ctx, backup, point.damage)


async def adopt(ctx: RestorePointContext, repository: Obj, points: Iterator[PointRecord]) -> bool:
    """Make Backups for the first of `points`. Whether any were made: a namespace that goes takes none.

    A point that can't have one is reported and left alone: it must not keep the others waiting.
    """
    made = 0
    while some := list(islice(points, _ABREAST)):
        tried = (_adopt_one(ctx, repository, point) for point in some)
        ends = await asyncio.gather(*tried, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        if any(isinstance(error, ForbiddenError) and error.terminating for error in errors):
            return False
        if errors:
            raise errors[0]
        made += sum(end is True for end in ends)
        if made >= BATCH:
            break
    return made > 0


async def _adopt_one(ctx: RestorePointContext, repository: Obj, point: PointRecord) -> bool:
    """Return whether a Backup was made: there may be one, others may have its names, or it can't have any."""
    try:
        return await _make(ctx, repository["metadata"]["namespace"], repository["metadata"]["name"], point)
    except InvalidError as error:
        text = f"the restore point of {point.manifest} can't have a Backup: {error}"
        await ctx.events.post(repository, "Warning", "NotAdopted", text)
        return False


async def _make(ctx: RestorePointContext, namespace: str, repository: str, point: PointRecord) -> bool:
    for name in dict.fromkeys(adopted_names(point)):
        try:
            made = await ctx.cluster.create(BACKUP, build_adopted(namespace, repository, point, name))
        except AlreadyExistsError:
            there = await find(ctx.cluster, BACKUP, namespace, name)
            if there is not None and point_uid(there) == point.backup_uid:
                return False
            continue
        ctx.backup_hints.note_created_by_scan(made["metadata"]["uid"])
        return True
    return False


async def carry_out(ctx: RestorePointContext, namespace: str, judgement: Judgement) -> None:
    """Apply what a scan found for one Backup."""
    obj = await find(ctx.cluster, BACKUP, namespace, judgement.name)
    if obj is None or obj["metadata"]["uid"] != judgement.uid or is_deleting(obj):
        return
    backup = ObservedBackup.of(obj)
    match judgement.verdict:
        case ScanVerdict.LOST:
            await publish(ctx, backup, conditions.stalled(conditions.REASON_LOST, judgement.message))
        case ScanVerdict.FOUND if judgement.point is not None:
            await _record(ctx, backup, judgement.point)
        case ScanVerdict.DAMAGED:
            await say_damage(ctx, backup, judgement.message)
        case ScanVerdict.OUTDATED if judgement.point is not None:
            await follow_manifest(ctx, obj, judgement.point)
        case _:
            await say_damage(ctx, backup, "")
    ctx.again(chain_key(backup))


async def say_damage(ctx: ReconcileContext, backup: ObservedBackup, message: str) -> None:
    """Keep the condition Damaged: there with a message, absent without."""
    old = conditions.dicts_of(backup.status)
    had = conditions.find(old, conditions.DAMAGED)
    if (str(had["message"]) if had is not None else "") == message:
        return
    generation = backup.obj["metadata"].get("generation")
    new = with_damage(old, message, generation=generation, now=ctx.now())
    status = changed_status(backup.status, DerivedChanges(conditions=conditions.models_of(new)))
    if await write_status(ctx.cluster, BACKUP, backup.obj, status) and message:
        await ctx.events.post(backup.obj, "Warning", conditions.DAMAGED, message)
    backup.status = status
