"""Which restore points of a chain are to be verified, and which are verified. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupVerification, Phase
from sendense_operator.api.v1alpha1.backuppolicy import Verification
from sendense_operator.chain.memory_estimate import DiskLoad
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.state.kubernetes_objects import requested_by
from sendense_operator.task import VerificationLevel

_NO_LOAD: Final = DiskLoad(0, 1)


@dataclass(frozen=True)
class VerifiedPoint:
    """A restore point, and what is known of its verification."""

    name: str
    """Of the Backup."""
    uid: str
    """Of the Backup that made it, by which the repository knows it."""
    time: datetime
    """When it was committed."""
    known: BackupVerification = field(default_factory=BackupVerification)
    is_damaged: bool = False
    request: str = ""
    """Value of the annotation on the Backup, if it has not been acted on."""
    load: DiskLoad = _NO_LOAD
    """Size of its largest disk, and layers of its deepest."""

    def is_verified(self, rules: Verification | None, now: datetime) -> bool:
        """Return whether it was verified as `rules` require, or at all without rules."""
        if self.is_damaged:
            return False
        if rules is None:
            return self.known.structure_time is not None
        if rules.level is VerificationLevel.STRUCTURE:
            return self.known.structure_time is not None
        return self.known.content_time is not None and now - self.known.content_time <= _cycle(rules)


def verified_points(backups: Iterable[Obj]) -> list[VerifiedPoint]:
    """Return the restore points that are in the repository, the oldest first."""
    found = (_verified_point(obj, obj.get("status") or {}) for obj in backups)
    return sorted((point for point in found if point is not None), key=lambda point: (point.time, point.name))


def _verified_point(obj: Obj, status: Obj) -> VerifiedPoint | None:
    """Read of the status only what is needed: a chain may have a thousand Backups, and each check reads them all."""
    time = parse_time(status.get("completionTime"))
    if status.get("phase") != Phase.COMPLETED or time is None:
        return None
    known = BackupVerification.model_validate(status.get("verification") or {})
    request = requested_by(obj, names.ANNOTATION_VERIFY)
    disks = status.get("disks") or ()
    return VerifiedPoint(
        name=obj["metadata"]["name"],
        uid=point_uid(obj),
        time=time,
        known=known,
        is_damaged=conditions.is_true(status.get("conditions") or (), conditions.DAMAGED),
        request=request if request != known.request else "",
        load=DiskLoad(
            max((int(disk["virtualSize"]) for disk in disks), default=0),
            max((int(disk.get("depth") or 1) for disk in disks), default=1),
        ),
    )


def due_on_request(points: Sequence[VerifiedPoint], since: datetime | None) -> list[VerifiedPoint]:
    """Return what users request to be verified, the newest first.

    `since`: when the verification of the whole chain was requested; None: it was not.
    """
    due = [p for p in points if p.request or (since is not None and not _was_tried(p, since))]
    return due[::-1]


def due_in_slot(points: Sequence[VerifiedPoint], rules: Verification, slot: Slot) -> list[VerifiedPoint]:
    """Return what is still to be verified in a slot of the schedule, the newest first.

    Damaged ones are left out: nothing but a repair of the storage changes them, and users can request them. One that
    was tried since the slot began is done, whatever the result, so that an interrupted run goes on where it was.
    """
    present = [point for point in points if not point.is_damaged and point.time < slot.started]
    left = [point for point in present if not _was_tried(point, slot.started)]
    if rules.level is VerificationLevel.STRUCTURE:
        return left[::-1]
    chosen = {point.uid for point in left if point.known.content_time is None}
    older = sorted(
        ((time, point.uid) for point in left if (time := point.known.content_time) is not None), key=lambda one: one[0]
    )
    done = len(present) - len(left)
    share = math.ceil((len(older) + done) * (slot.period / _cycle(rules))) - done
    # Before the next slot these would be older than the cycle allows.
    limit = slot.started + slot.period - _cycle(rules)
    chosen |= {uid for place, (time, uid) in enumerate(older) if place < share or time <= limit}
    return [point for point in reversed(left) if point.uid in chosen]


@dataclass(frozen=True)
class Slot:
    """A slot of the schedule that is open."""

    started: datetime
    period: timedelta
    """Until the next slot."""


def _was_tried(point: VerifiedPoint, since: datetime) -> bool:
    return point.known.time is not None and point.known.time >= since


def _cycle(rules: Verification) -> timedelta:
    return timedelta(days=rules.full_cycle_days)
