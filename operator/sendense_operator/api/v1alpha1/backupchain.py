"""BackupChain: the restore points of one VM in one repository."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from sendense_operator.api.v1alpha1.base import (
    AGE,
    MAX_POINTS,
    MESSAGE,
    READY,
    Bytes,
    Column,
    Count,
    LocalRef,
    Model,
    ObjectName,
    Resource,
    ShortText,
    Status,
    Text,
    immutable,
)
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation, Consolidation
from sendense_operator.api.v1alpha1.cron_schedules import ScheduleStatus
from sendense_operator.task import BackupType, Compaction, ParentCheck, VerificationLevel

MAX_WAITING: Final = 1000
_ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}
"""A list that is written as a whole: the API server would else keep an owner for each field of each entry."""


class BackupChainSpec(Model):
    """Which chain this is, and how it is kept. Made by the controller."""

    vm_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.vmRef"))]
    """The ProtectedVM."""
    repository_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.repositoryRef"))]
    """The BackupRepository."""
    parent_check: ParentCheck = ParentCheck.CONTENT
    """How the newest restore point is proven before an increment is put on it. Content reads all of it; Structure is
    quick, and finds no flipped bit."""
    compaction: Compaction = Compaction.NEVER
    """Whether an increment is reduced to what differs from its parent before it is committed. Auto does so where enough
    can be saved for what has to be read; Never stores it as the appliance sent it."""
    consolidation: Consolidation = Consolidation()
    """When layers of removed restore points are merged into those that depend on them, and how."""


class PointState(StrEnum):
    """Whether a restore point can be used."""

    AVAILABLE = "Available"
    DAMAGED = "Damaged"
    LOST = "Lost"


class KeepRule(StrEnum):
    """Rule of a policy's retention that keeps a restore point."""

    LAST = "Last"
    HOURLY = "Hourly"
    DAILY = "Daily"
    WEEKLY = "Weekly"
    MONTHLY = "Monthly"
    YEARLY = "Yearly"
    WITHIN = "Within"
    MINIMUM = "Minimum"
    """No other rule, but it is one of the newest that always stay."""
    MANUAL = "Manual"
    """The policy did not create it, and its retention does not include such restore points."""


class Hold(StrEnum):
    """What keeps the operator from deleting a Backup that no rule keeps."""

    DRY_RUN = "DryRun"
    """spec.retention.dryRun of the policy."""
    SUSPENDED = "Suspended"
    """spec.suspend of the policy."""
    RETAIN = "Retain"
    """The Backup or its repository has deletionPolicy Retain: its files would stay."""
    IMMUTABLE = "Immutable"
    """It is immutable until `retainedUntil`, and is deleted then."""


class RestorePoint(Model):
    """One committed backup."""

    backup: ObjectName
    """Name of the Backup."""
    time: datetime
    """When it was committed."""
    type: BackupType
    """Incremental when every disk is an increment."""
    full: ObjectName | None = None
    """Name of the Backup whose full it depends on (the oldest one, if its disks depend on several)."""
    depth: Count = 1
    """Layers that have to be read for its deepest disk."""
    stored_bytes: Bytes = 0
    """Bytes that its own layers occupy."""
    guest_bytes: Bytes = 0
    """Bytes of its own layers that hold guest data."""
    state: PointState = PointState.AVAILABLE
    """Whether it can be used."""
    kept_by: Annotated[list[KeepRule], Field(max_length=len(KeepRule), json_schema_extra=_ATOMIC)] = []
    """Rules of the policy's retention that keep it."""
    expired_since: datetime | None = None
    """Since when no rule keeps it: its Backup is deleted, unless something holds it."""
    held_by: Hold | None = None
    """What keeps an expired one."""
    retained_until: datetime | None = None
    """Until when it is immutable, by its manifest and by spec.immutability of the BackupRepository."""


class RemovalState(StrEnum):
    """How far the removal of a restore point is."""

    PENDING = "Pending"
    """The repository has not been notified yet, could not be reached, or its manifest can't be read."""
    NEEDED = "Needed"
    """It is no restore point any more; its layers stay while others depend on them."""
    IMMUTABLE = "Immutable"
    """It is a restore point until `keptUntil`, because it is immutable; its Backup stays in its deletion until then."""
    RETAINED = "Retained"
    """Its files were kept, by deletionPolicy Retain: a scan that somebody asks for brings its Backup back."""


class RemovedPoint(Model):
    """A restore point whose Backup was deleted, and whose layers are still there."""

    backup: ObjectName
    """Name of the Backup that was deleted."""
    uid: ShortText
    """UID of the Backup that made it."""
    state: RemovalState = RemovalState.PENDING
    """How far its removal is."""
    stored_bytes: Bytes = 0
    """Bytes that wait to be freed."""
    needed_by: ObjectName | None = None
    """A Backup that depends on its layers."""
    full: ObjectName | None = None
    """Name of the Backup whose full it was based on, for removed points that are still needed."""
    since: datetime
    """When its Backup was deleted."""
    kept_until: datetime | None = None
    """When its files may be removed, by the repository's deletionGraceSeconds or because it is immutable; until then a
    Backup with spec.adopt.uid takes the restore point back."""


class NextBackup(Model):
    """What a Backup of type Auto would make now."""

    type: BackupType
    """Incremental or Full."""
    reason: ShortText = ""
    """Why it would be a full, as in status.disks of a Backup."""
    message: ShortText = ""
    """The same for people."""


class ChainVerification(Model):
    """Verification of the restore points."""

    schedule: ScheduleStatus | None = None
    """The schedule of the policy's verification; while its slot is open, restore points are still to be verified."""
    request: Text = ""
    """Value of the annotation backup.sendense.io/verify that was last acted on."""
    request_time: datetime | None = None
    """Since when a request is being acted on: each restore point is verified that was not since then."""
    level: VerificationLevel | None = None
    """Level of the last verification, or of the one that runs."""
    progress: ShortText = ""
    """What is being verified; empty when nothing is."""
    last_time: datetime | None = None
    """When the last verification ended."""
    last_verified: Count = 0
    """Restore points that it verified."""
    last_damaged: Count = 0
    """Restore points that it found to be damaged."""
    problem: Text = ""
    """Why the last verification did not come to its end; empty when it did."""


class BackupChainStatus(Status):
    """What the chain holds."""

    points: Count = 0
    """Number of restore points."""
    latest_backup: ObjectName | None = None
    """Name of the newest restore point's Backup."""
    latest_time: datetime | None = None
    """When it was committed."""
    latest_usable_backup: ObjectName | None = None
    """Name of the newest restore point's Backup that is neither damaged nor lost."""
    latest_usable_time: datetime | None = None
    """When the content of that restore point was taken: when its Backup started to copy."""
    depth: Count = 0
    """Layers that have to be read for the newest restore point."""
    stored_bytes: Bytes = 0
    """Bytes that all layers occupy, those that wait to be freed included."""
    stored: ShortText | None = None
    """The same as the Stored column shows it."""
    guest_bytes: Bytes = 0
    """Bytes of all layers that hold guest data."""
    virtual_size: Bytes = 0
    """Sum of the disks' virtual sizes at the newest point."""
    next: NextBackup | None = None
    """What the next backup would be, and why."""
    policy: ObjectName | None = None
    """The BackupPolicy whose retention applies to the restore points."""
    expired: Count | None = None
    """Restore points that no rule of its retention keeps."""
    verification: ChainVerification | None = None
    """Verification of the restore points; the condition Verified says with which result."""
    consolidation: ChainConsolidation | None = None
    """Consolidation of the chain; absent while there was never anything to merge."""
    restore_points: Annotated[list[RestorePoint], Field(max_length=MAX_POINTS, json_schema_extra=_ATOMIC)] = []
    """The newest restore points, oldest first (at most 1000 are listed; `points` counts all)."""
    removed: Annotated[list[RemovedPoint], Field(max_length=MAX_WAITING, json_schema_extra=_ATOMIC)] = []
    """Deleted restore points whose layers are still there: what waits to be freed. At most 1000, first of all those
    of which the repository has not been notified; when so many wait for it, further Backups wait in their deletion."""


BACKUP_CHAIN = Resource(
    kind="BackupChain",
    plural="backupchains",
    short_name="bchain",
    description="The restore points of one VM in one repository, kept by the controller: is this VM protected?",
    spec=BackupChainSpec,
    status=BackupChainStatus,
    columns=(
        Column("VM", ".spec.vmRef.name"),
        Column("Repository", ".spec.repositoryRef.name"),
        Column("Points", ".status.points", "integer"),
        Column("Latest", ".status.latestTime", "date"),
        Column("Depth", ".status.depth", "integer"),
        Column("Stored", ".status.stored"),
        READY,
        Column("State", ".status.conditions[?(@.type=='Ready')].reason"),
        AGE,
        Column("Next", ".status.next.type", priority=1),
        Column("Policy", ".status.policy", priority=1),
        Column("Expired", ".status.expired", "integer", priority=1),
        Column("Verified", ".status.conditions[?(@.type=='Verified')].reason", priority=1),
        Column("Verifying", ".status.verification.progress", priority=1),
        Column("Consolidated", ".status.consolidation.lastTime", "date", priority=1),
        Column("Consolidating", ".status.consolidation.progress", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.vmRef.name", ".spec.repositoryRef.name"),
)
