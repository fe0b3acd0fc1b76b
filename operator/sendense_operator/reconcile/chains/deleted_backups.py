"""Deleted Backups of a chain: which are let go at once, which wait, and which have files to remove."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupSpec, BackupStatus, DeletionPolicy
from sendense_operator.api.v1alpha1.backupchain import RemovalState, RemovedPoint, RestorePoint
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import remove_finalizers
from sendense_operator.formatting import utc_stamp
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.catalogue.immutable_points import immutable_until, is_immutable, seconds_left
from sendense_operator.reconcile.catalogue.ownership import owns_point, point_uid
from sendense_operator.reconcile.catalogue.point_changes import changed_point
from sendense_operator.reconcile.catalogue.removal import (
    Kept,
    decide_removal,
    deletion_policy_of,
    is_leaving,
    look_for_guard,
    removal_of,
    room_for,
)
from sendense_operator.reconcile.chains.observed_chain import ObservedChain
from sendense_operator.reconcile.state.context import ReconcileContext, RestorePointContext

RETAINED = Kept("deletionPolicy is Retain; a requested scan brings it back")


@dataclass(frozen=True)
class DeletedBackups:
    """Deleted Backups that are not let go yet."""

    going: list[Obj] = field(default_factory=list)
    """Those whose files are to be removed."""
    retained: list[Obj] = field(default_factory=list)
    """Those whose files stay, by deletionPolicy Retain."""
    immutable: list[tuple[Obj, datetime]] = field(default_factory=list)
    """Those that stay until that time, because their restore points are immutable."""
    has_more: bool = False
    """Whether there are more to remove."""

    def __bool__(self) -> bool:
        return bool(self.going or self.retained or self.immutable)

    def removals(self, listed: list[RestorePoint]) -> list[RemovedPoint]:
        """Return what the chain says of them. `listed`: what it said of its restore points before."""
        found = [removal_of(obj, listed) for obj in self.going]
        found += [removal_of(obj, listed, RemovalState.RETAINED) for obj in self.retained]
        for obj, until in self.immutable:
            found.append(changed_point(removal_of(obj, listed, RemovalState.IMMUTABLE), kept_until=until))
        return found

    def seconds_left(self, now: datetime) -> float | None:
        """Return seconds until the first of the immutable ones is to be checked again; None: there is none."""
        return min((seconds_left(until, now) for _, until in self.immutable), default=None)


async def find_deleted(ctx: RestorePointContext, seen: ObservedChain) -> DeletedBackups:
    """Return the deleted Backups of a chain that are not let go yet. All others are.

    Where everything goes, retained and immutable ones too: a chain to list them in can't be made any more, and their
    files stay.
    """
    leaving = [obj for obj in seen.backups if is_leaving(obj)]
    owned = {point_uid(obj): obj["metadata"]["name"] for obj in seen.backups if owns_point(obj)}
    guard = await look_for_guard(ctx, seen.namespace) if leaving else None
    found = DeletedBackups()
    for obj in leaving:
        spec, until = BackupSpec.model_validate(obj["spec"]), _until(obj, seen)
        if owner := owned.get(point_uid(obj)):
            shared = Kept(f"Backup {owner} has the same restore point")
            await let_go(ctx, obj, shared, reason="RestorePointKept")
        elif deletion_policy_of(spec, seen.repository) is DeletionPolicy.RETAIN and not (guard and guard.going):
            found.retained.append(obj)
        elif kept := decide_removal(spec, seen.repository, guard):
            await let_go(ctx, obj, kept, reason="RestorePointKept")
        elif until is not None and is_immutable(until, ctx.now()):
            await _say_immutable(ctx, obj, until)
            found.immutable.append((obj, until))
        else:
            found.going.append(obj)
    room = room_for(seen.status.removed)
    return DeletedBackups(found.going[:room], found.retained, found.immutable, len(found.going) > room)


def _until(obj: Obj, seen: ObservedChain) -> datetime | None:
    return immutable_until(BackupStatus.model_validate(obj.get("status") or {}), seen.repository_spec)


async def _say_immutable(ctx: RestorePointContext, obj: Obj, until: datetime) -> None:
    text = f"its restore point is immutable until {utc_stamp(until)}, and is removed then"
    await publish(ctx, ObservedBackup.of(obj), conditions.reconciling(conditions.REASON_RETAINED, text), urgent=True)


async def let_go(ctx: ReconcileContext, obj: Obj, kept: Kept, *, reason: str) -> None:
    """Let a deleted Backup go, with an Event that says what becomes of its files."""
    words = kept.message if reason == "RestorePointRemoved" else f"its files stay in the repository: {kept.message}"
    await ctx.events.post(obj, "Warning" if kept.warning else "Normal", reason, words)
    await remove_finalizers(ctx.cluster, BACKUP, obj, names.FINALIZER_RESTORE_POINT)
