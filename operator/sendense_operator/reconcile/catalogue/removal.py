"""What becomes of a restore point whose Backup is deleted: kept or removed, and what is said of it until its files go.

Removing is the only thing here that destroys data, so it needs a reason: a Backup that somebody deleted by itself. One
deleted with its namespace or the CRD is no such reason, and when that can't be determined, nothing is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec, BackupStatus, DeletionPolicy
from sendense_operator.api.v1alpha1.backupchain import MAX_WAITING, RemovalState, RemovedPoint, RestorePoint
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.catalogue_format import TombstoneRecord
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY, DEFINITION, NAMESPACE
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import has_finalizer
from sendense_operator.formatting import human_bytes, human_list, parse_time
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.catalogue.point_changes import changed_point
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.records import ChainView

_DEFINITIONS: Final = tuple(f"{kind.plural}.{names.GROUP}" for kind in (BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY))


@dataclass(frozen=True)
class Kept:
    """The files stay."""

    message: str
    warning: bool = False
    """Whether that is not what the Backup's policy says."""
    going: bool = False
    """Whether that is since everything around it goes: then nothing new can be written down either."""


def is_leaving(obj: Obj) -> bool:
    """Return whether a deleted Backup waits only for the decision about its files: its worker is gone."""
    held = has_finalizer(obj, names.FINALIZER_RESTORE_POINT) and not has_finalizer(obj, names.FINALIZER)
    return is_deleting(obj) and held


async def look_for_guard(ctx: ReconcileContext, namespace: str) -> Kept | None:
    """Return why nothing of this namespace may be removed now: it is being deleted, or that can't be determined."""
    try:
        found = await find(ctx.cluster, NAMESPACE, None, namespace)
        if found is None or is_deleting(found):
            return Kept(f"namespace {namespace} is being deleted", warning=True, going=True)
        for name in _DEFINITIONS:
            found = await find(ctx.cluster, DEFINITION, None, name)
            if found is None or is_deleting(found):
                text = f"the CustomResourceDefinition {name} is being deleted"
                return Kept(text, warning=True, going=True)
    except ForbiddenError as error:
        text = f"it is not known whether the namespace or a CustomResourceDefinition is being deleted: {error}"
        return Kept(text, warning=True)
    return None


def decide_removal(spec: BackupSpec, repository: Obj | None, guard: Kept | None) -> Kept | None:
    """Return why the files of a deleted Backup are kept; None: they are to be removed."""
    if deletion_policy_of(spec, repository) is DeletionPolicy.RETAIN:
        return Kept("deletionPolicy is Retain")
    if guard is not None:
        return guard
    if repository is None or is_deleting(repository):
        return Kept(f"there is no BackupRepository {spec.repository_ref.name} to remove them from", warning=True)
    return None


def deletion_policy_of(spec: BackupSpec, repository: Obj | None) -> DeletionPolicy:
    """Return the stricter one of what the Backup and its repository say: what either retains stays."""
    said = [spec.deletion_policy]
    if repository is not None:
        said.append(BackupRepositorySpec.model_validate(repository["spec"]).deletion_policy)
    return DeletionPolicy.RETAIN if DeletionPolicy.RETAIN in said else DeletionPolicy.DELETE


def grace_left(point: RemovedPoint, spec: BackupRepositorySpec, now: datetime) -> float:
    """Return seconds for which a deleted restore point is still kept whole, so that it can be taken back; 0: none."""
    if point.state is not RemovalState.PENDING:
        return 0.0
    return max((point.since - now).total_seconds() + spec.deletion_grace_seconds, 0.0)


def is_retained_now(point: RemovedPoint, spec: BackupRepositorySpec) -> bool:
    """Return whether the repository was set to Retain after a Backup was deleted, and before its files were removed."""
    return point.state is RemovalState.PENDING and spec.deletion_policy is DeletionPolicy.RETAIN


def removal_of(obj: Obj, points: Sequence[RestorePoint], state: RemovalState = RemovalState.PENDING) -> RemovedPoint:
    """Return what the chain says of a Backup that is being deleted: its restore point is to go, or it is retained.

    `points`: what it said of its restore points before.
    """
    status = BackupStatus.model_validate(obj.get("status") or {})
    since = parse_time(obj["metadata"].get("deletionTimestamp"))
    if since is None:
        raise ValueError("a Backup that is not being deleted")
    name = obj["metadata"]["name"]
    return RemovedPoint(
        backup=name,
        uid=point_uid(obj),
        state=state,
        stored_bytes=status.stored_bytes or 0,
        full=next((p.full for p in points if (p.backup, p.time) == (name, status.completion_time)), None),
        since=since,
    )


def room_for(removed: Sequence[RemovedPoint]) -> int:
    """Return how many more may wait for the repository. Those that it knows of already give way."""
    return MAX_WAITING - sum(point.state is RemovalState.PENDING for point in removed)


def merge_removed(
    old: Sequence[RemovedPoint], new: Sequence[RemovedPoint], view: ChainView | None
) -> list[RemovedPoint]:
    """Return the removed points of a chain whose files may still be there, the oldest first.

    `new`: Backups that are being deleted; the last word on a restore point is what counts, one that was retained and
    adopted again may be removed. `view`: what the repository's pod said last. Nothing is dropped from the list unless a
    pod that had to remove it, or that had seen its tombstone before, says that it is neither restore point nor
    tombstone any more.
    """
    known = {point.uid: point for point in old}
    for point in new:
        before = known.get(point.uid)
        full = point.full or (before.full if before is not None else None)
        known[point.uid] = changed_point(point, full=full)
    listed = list(known.values())
    if view is not None:
        listed = [after for point in listed if (after := _after(point, view)) is not None]
        reported = {point.uid for point in listed} | view.points.keys()
        listed += [
            _waiting(RemovedPoint(backup=record.backup, uid=uid, since=view.taken), record)
            for uid, record in view.tombstones.items()
            if uid not in reported and names.is_object_name(record.backup)
        ]
    # The repository tells of its tombstones again; nobody else knows what is retained or to be removed.
    ranks = {RemovalState.PENDING: 2, RemovalState.RETAINED: 1}
    listed.sort(key=lambda point: (ranks.get(point.state, 0), point.since, point.backup))
    return sorted(listed[-MAX_WAITING:], key=lambda point: (point.since, point.backup, point.uid))


def freed_points(old: Sequence[RemovedPoint], view: ChainView | None) -> list[RemovedPoint]:
    """Return a chain's removed points whose files the repository reports gone, with their last known bytes.

    Not those that were retained: they were not removed by us. Nor those that never had bytes: a Backup that ended
    without a worker's word is asked for in the repository, and mostly has nothing there.
    """
    if view is None:
        return []
    removed = [point for point in old if point.state is not RemovalState.RETAINED and point.stored_bytes]
    return [point for point in removed if _after(point, view) is None]


def describe_freed(points: Sequence[RemovedPoint]) -> str:
    """For a person: how many there are, what they held, and the names of the first."""
    size = human_bytes(sum(point.stored_bytes for point in points))
    what = "1 removed restore point is" if len(points) == 1 else f"{len(points)} removed restore points are"
    return f"{what} gone with all files, {size} freed: {human_list([point.backup for point in points])}"


def _after(point: RemovedPoint, view: ChainView) -> RemovedPoint | None:
    """Return a removed point after a pod's word on its chain; None when nothing is left of it."""
    if point.uid in view.points:
        if point.state in (RemovalState.RETAINED, RemovalState.IMMUTABLE):
            return point
        # The repository has not been notified; or it is back: the volume was set back, or a second attempt was thought
        # dead: then there is a tombstone of the first one too.
        return changed_point(point, state=RemovalState.PENDING, needed_by=None)
    if record := view.tombstones.get(point.uid):
        return _waiting(point, record)
    if point.state is RemovalState.PENDING:
        # A worker that was given up may commit it yet.
        gone = point.uid in view.asked and not view.chain.busy
    else:
        gone = view.taken >= point.since
    return None if gone and view.chain.is_understood else point


def is_out_of_reach(point: RemovedPoint, view: ChainView | None) -> bool:
    """Return whether a pod had to remove this point and found only manifests that can't be read."""
    if view is None or point.state is not RemovalState.PENDING or point.uid in view.points:
        return False
    return point.uid in view.asked and view.chain.complete and not view.chain.is_understood


def _waiting(point: RemovedPoint, record: TombstoneRecord) -> RemovedPoint:
    needed_by = record.needed_by if names.is_object_name(record.needed_by) else None
    return changed_point(point, state=RemovalState.NEEDED, stored_bytes=record.stored_bytes, needed_by=needed_by)
