"""A chain's status: counted from its Backups and from what waits to be freed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import PurePosixPath

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupSpec, BackupStatus, DeletionPolicy, Phase
from sendense_operator.api.v1alpha1.backupchain import (
    BackupChainStatus,
    ChainVerification,
    NextBackup,
    PointState,
    RemovalState,
    RemovedPoint,
    RestorePoint,
)
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.base import MAX_POINTS
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.api.v1alpha1.names import is_object_name
from sendense_operator.api.v1alpha1.protectedvm import VMDisk
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_bytes, human_count
from sendense_operator.reconcile.catalogue.immutable_points import immutable_until
from sendense_operator.reconcile.catalogue.point_changes import changed_point
from sendense_operator.reconcile.chains.freeing_obstacles import with_freeing
from sendense_operator.reconcile.chains.next_backup import decide_next, is_damaged
from sendense_operator.reconcile.chains.retention_decision import (
    KEPT,
    RetentionDecision,
    RetentionFacts,
    RetentionPoint,
    decide_retention,
    report_of,
    with_retention,
)
from sendense_operator.reconcile.protection.retention_reports import RetentionReport
from sendense_operator.reconcile.protection.verification_reports import VerificationReport
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.reconcile.state.records import ChainView
from sendense_operator.reconcile.verification.chain_aspect import with_verification
from sendense_operator.task import BackupType


@dataclass
class ChainFacts:
    """All that a chain's status is made of."""

    backups: Sequence[Obj]
    """Completed and Lost ones that are not being deleted, in any order."""
    removed: Sequence[RemovedPoint]
    disks: Sequence[VMDisk]
    """The VM's, as last looked up; empty when that is not known."""
    max_depth: int
    """Layers that the repository allows."""
    view: ChainView | None = None
    retention: RetentionFacts | None = None
    """None: no policy with a retention rules the chain."""
    rejected: str = ""
    """Why the API server did not delete expired Backups."""
    verification: ChainVerification | None = None
    """How far the verification of its restore points is; None: nothing requires it."""
    verified: VerificationReport | None = None
    """What that has found."""
    repository: BackupRepositorySpec | None = None
    """None: there is no such BackupRepository."""


@dataclass(frozen=True)
class ChainDescription:
    """A chain's status, and what retention makes of its points; None where no retention applies."""

    status: BackupChainStatus
    retention: RetentionDecision | None
    report: RetentionReport | None


@dataclass
class _Point:
    """A restore point and where its disks begin."""

    name: str
    uid: str
    time: datetime
    status: BackupStatus
    spec: BackupSpec
    roots: dict[int, tuple[int, str]] = field(default_factory=dict)
    """By device key: place in the chain and name of the full below the disk; -1: no longer a restore point."""

    @property
    def written_as(self) -> str:
        """Name that other manifests know it by: of the Backup that made it."""
        name = PurePosixPath(self.status.manifest or "").name.partition(".")[0]
        return name if is_object_name(name) else self.name

    @property
    def taken(self) -> datetime:
        """When its content was taken: a backup that ends after midnight belongs to the day on which it began."""
        return self.status.start_time or self.time

    @property
    def state(self) -> PointState:
        if self.status.phase is Phase.LOST:
            return PointState.LOST
        return PointState.DAMAGED if is_damaged(self.status) else PointState.AVAILABLE


def describe_chain(
    old: BackupChainStatus, facts: ChainFacts, *, generation: int | None, now: datetime
) -> ChainDescription:
    """Return what there is to say of `facts`."""
    points = _in_order(_points(facts.backups), old, facts.view)
    _find_fulls(points, old, facts.removed)
    present = [point for point in points if point.state is not PointState.LOST]
    newest = present[-1] if present else None
    usable = next((point for point in reversed(points) if point.state is PointState.AVAILABLE), None)
    reported = facts.view.points.get(newest.uid) if facts.view is not None and newest is not None else None
    following = decide_next(
        newest.status if newest else None,
        facts.disks,
        max_depth=facts.max_depth,
        full_next=reported.full_next if reported is not None else "",
    )
    stored_bytes = _total(point.status.stored_bytes for point in present) + _total(
        p.stored_bytes for p in facts.removed
    )
    state = _state(points, newest, following)
    updated = conditions.update(conditions.dicts_of(old), state, generation=generation, now=now)
    updated = with_freeing(updated, facts.view, generation=generation, now=now)
    retention = None
    if facts.retention is not None:
        retention = decide_retention([_dated(point, facts.repository) for point in points], old, facts.retention, now)
    report = report_of(retention, facts.rejected) if retention is not None else None
    updated = with_retention(updated, report, generation=generation, now=now)
    updated = with_verification(updated, facts.verified, generation=generation, now=now)
    status = BackupChainStatus(
        observed_generation=generation,
        conditions=conditions.models_of(updated),
        points=len(present),
        latest_backup=newest.name if newest else None,
        latest_time=newest.time if newest else None,
        latest_usable_backup=usable.name if usable else None,
        latest_usable_time=usable.taken if usable else None,
        depth=_depth(newest) if newest else 0,
        stored_bytes=stored_bytes,
        stored=human_bytes(stored_bytes),
        guest_bytes=_total(point.status.guest_bytes for point in present),
        virtual_size=_total(disk.virtual_size for disk in newest.status.disks) if newest else 0,
        next=following,
        restore_points=[_restore_point(point, retention, facts.repository) for point in points[-MAX_POINTS:]],
        removed=_needed(points, facts.removed),
        policy=retention.policy if retention is not None else None,
        expired=retention.expired if retention is not None else None,
        verification=facts.verification,
    )
    return ChainDescription(status, retention, report)


def _needed(points: Sequence[_Point], removed: Sequence[RemovedPoint]) -> list[RemovedPoint]:
    """Return who depends directly on a removed point that the maintenance pod came too early to see."""
    above = {disk.parent: point.name for point in reversed(points) for disk in point.status.disks if disk.parent}
    return [
        changed_point(point, needed_by=above.get(point.backup))
        if point.state is RemovalState.NEEDED and point.needed_by is None
        else point
        for point in removed
    ]


def _points(backups: Sequence[Obj]) -> list[_Point]:
    """In any order."""
    result = []
    for obj in backups:
        status = BackupStatus.model_validate(obj.get("status") or {})
        spec = BackupSpec.model_validate(obj["spec"])
        meta = obj["metadata"]
        if status.completion_time is not None:
            uid = spec.adopt.uid if spec.adopt is not None else meta["uid"]
            result.append(_Point(meta["name"], uid, status.completion_time, status, spec))
    return result


def _in_order(points: Sequence[_Point], old: BackupChainStatus, view: ChainView | None) -> list[_Point]:
    """As they were committed, whatever the clocks said: a worker's, that of another cluster's controller, ours.

    The repository knows, by sequence, if its pod could list all. Until the first pod's word after a restart the order
    of before holds. What is known to neither was committed since and comes last; or it was lost long ago, or is too old
    for the list of before: then all that is left is its time.
    """
    if view is not None and view.chain.complete:
        reported = sorted(
            view.points.values(), key=lambda record: (record.sequence, record.finished, record.backup_uid)
        )
        places = {record.backup_uid: place for place, record in enumerate(reported)}
        known = [(places[point.uid], point) for point in points if point.uid in places]
        horizon = view.taken
    else:
        before = {(point.backup, point.time): place for place, point in enumerate(old.restore_points)}
        known = [(before[point.name, point.time], point) for point in points if (point.name, point.time) in before]
        horizon = min((point.time for _, point in known), default=datetime.max.replace(tzinfo=UTC))
    names = {point.name for _, point in known}
    rest = sorted((p for p in points if p.name not in names), key=lambda point: (point.time, point.name))
    early = deque(point for point in rest if point.time < horizon)
    result = list[_Point]()
    for _, point in sorted(known, key=itemgetter(0)):
        while early and early[0].time < point.time:
            result.append(early.popleft())
        result.append(point)
    return [*result, *early, *(point for point in rest if point.time >= horizon)]


def _find_fulls(points: Sequence[_Point], old: BackupChainStatus, removed: Sequence[RemovedPoint]) -> None:
    """Follow each disk to the full that it depends on, the oldest point first.

    A parent is known by its name, and is older. One that was removed is still listed as such, or the status from before
    knows its full.
    """
    known = {(point.backup, point.time): point.full for point in old.restore_points}
    gone = {point.backup: point.full for point in removed if point.full is not None}
    older: dict[str, _Point] = {}
    for place, point in enumerate(points):
        for disk in point.status.disks:
            before = known.get((point.name, point.time)) or gone.get(disk.parent or "")
            point.roots[disk.key] = _root(disk, older, before) if disk.parent else (place, point.name)
        older[point.name] = older[point.written_as] = point


def _root(disk: BackupDisk, older: dict[str, _Point], known: str | None) -> tuple[int, str]:
    """Of an increment."""
    parent = older.get(disk.parent or "")
    if parent is not None and disk.key in parent.roots:
        return parent.roots[disk.key]
    return -1, known or disk.parent or ""


def _full(point: _Point) -> str | None:
    return min(point.roots.values())[1] if point.roots else None


def _depth(point: _Point) -> int:
    return max((disk.depth or 1 for disk in point.status.disks), default=1)


def _type(status: BackupStatus) -> BackupType:
    """Return the type of its layers now: `type` is what ran, and a merge may have made a full of an increment."""
    known = bool(status.disks) and all(disk.type for disk in status.disks)
    return status.type if status.type is not None and not known else backup_type_of(status.disks)


def _total(numbers: Iterable[int | None]) -> int:
    return sum(number or 0 for number in numbers)


def _dated(point: _Point, repository: BackupRepositorySpec | None) -> RetentionPoint:
    """As retention sees it: by the time at which its content was taken, not by the end of the copy."""
    spec = point.spec
    return RetentionPoint(
        name=point.name,
        completed=point.time,
        taken=point.taken,
        state=point.state,
        policy=spec.policy_ref.name if spec.policy_ref is not None else None,
        retained=spec.deletion_policy is DeletionPolicy.RETAIN,
        immutable_until=immutable_until(point.status, repository),
    )


def _restore_point(
    point: _Point, retention: RetentionDecision | None, repository: BackupRepositorySpec | None
) -> RestorePoint:
    fate = retention.fates[point.name] if retention is not None else KEPT
    return RestorePoint(
        backup=point.name,
        time=point.time,
        type=_type(point.status),
        full=_full(point),
        depth=_depth(point),
        stored_bytes=point.status.stored_bytes or 0,
        guest_bytes=point.status.guest_bytes or 0,
        state=point.state,
        kept_by=list(fate.kept_by),
        expired_since=fate.expired_since,
        held_by=fate.held_by,
        retained_until=immutable_until(point.status, repository),
    )


def _state(points: Sequence[_Point], newest: _Point | None, following: NextBackup) -> State:
    lost = sum(point.state is PointState.LOST for point in points)
    damaged = sum(point.state is PointState.DAMAGED for point in points)
    if newest is None:
        if lost:
            return conditions.stalled("Lost", f"none of the {lost} restore points is in the repository any more")
        return conditions.reconciling("NoRestorePoints", "no restore point is left")
    count = len(points) - lost
    text = f"{human_count(count, 'restore point')}, the newest is {newest.name}"
    text += f"; {damaged} damaged" if damaged else ""
    text += f"; {lost} lost" if lost else ""
    if newest.state is PointState.DAMAGED:
        return conditions.stalled("Damaged", f"{text}. The newest can't be used: the next backup is a {following.type}")
    return conditions.ready("Protected", text)
