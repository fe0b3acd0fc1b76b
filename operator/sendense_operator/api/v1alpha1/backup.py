"""Backup: one restore point of one VM."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import (
    AGE,
    MAX_DISKS,
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
    keyed_by,
    rules,
)
from sendense_operator.api.v1alpha1.known_hardware import KnownHardware
from sendense_operator.task import BackupType, MissingParent, Stage


class Phase(StrEnum):
    """Summary of the conditions, derived in `conditions.phase_of`."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    LOST = "Lost"
    DELETING = "Deleting"


class RequestedType(StrEnum):
    """Types of backup that a Backup may request."""

    FULL = "Full"
    INCREMENTAL = "Incremental"
    AUTO = "Auto"


class DeletionPolicy(StrEnum):
    """What happens to a restore point's files when its Backup is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class AdoptedPoint(Model):
    """A restore point that is already in the repository."""

    uid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36)]
    """UID of the Backup that made the restore point, as its manifest records it."""


class BackupSpec(Model):
    """What to back up, and where to write it. Only `cancel` and `deletionPolicy` can be changed later."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.adopt) == has(oldSelf.adopt)", "spec.adopt is immutable: create a new object instead"),
            (
                "has(self.policyRef) == has(oldSelf.policyRef)",
                "spec.policyRef is immutable: create a new object instead",
            ),
            (
                "!has(self.onMissingParent) || self.onMissingParent == 'Full' || self.type == 'Incremental'",
                "spec.onMissingParent: Fail requires spec.type Incremental",
            ),
        )
    )

    vm_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.vmRef"))]
    """The ProtectedVM to back up."""
    repository_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.repositoryRef"))]
    """The BackupRepository to write to."""
    type: Annotated[RequestedType, Field(json_schema_extra=immutable("spec.type"))] = RequestedType.FULL
    """Full copies each disk completely. Incremental copies what changed since the newest restore point, and treats a
    disk without a usable parent as onMissingParent says. Auto copies changes where it can, and other disks in full."""
    on_missing_parent: Annotated[MissingParent, Field(json_schema_extra=immutable("spec.onMissingParent"))] = (
        MissingParent.FULL
    )
    """What a Backup of type Incremental does when a disk has no usable parent. Full: copies that disk in full. Fail:
    fails, so that nobody gets a full by surprise."""
    deletion_policy: DeletionPolicy | None = None
    """What happens to the restore point's files when this object is deleted. If this or the repository's policy is
    Retain, they stay. Absent: the repository's policy applies."""
    adopt: Annotated[AdoptedPoint | None, Field(json_schema_extra=immutable("spec.adopt"))] = None
    """Makes this object represent a restore point that is already in the repository; nothing is copied. The operator
    sets it on the Backups that it creates for restore points that a scan found."""
    policy_ref: Annotated[LocalRef | None, Field(json_schema_extra=immutable("spec.policyRef"))] = None
    """The BackupPolicy that created this Backup; absent: created by a user, or adopted."""
    retries: Annotated[int, Field(ge=0, le=10, json_schema_extra=immutable("spec.retries"))] = 2
    """How many more attempts may follow a failed one. An attempt that was evicted does not count."""
    start_deadline_seconds: Annotated[
        int, Field(ge=5, le=2_592_000, json_schema_extra=immutable("spec.startDeadlineSeconds"))
    ] = 86_400
    """Seconds that the Backup may wait for what it needs, such as a free slot, before it fails."""
    active_deadline_seconds: Annotated[
        int, Field(ge=10, le=2_592_000, json_schema_extra=immutable("spec.activeDeadlineSeconds"))
    ] = 172_800
    """Seconds that all attempts together may take before the Backup fails."""
    cancel: bool = False
    """Set to true to stop a pending or running Backup; it ends as Cancelled. Setting it back to false does not restart
    a Backup that has ended."""


class BackupProgress(Model):
    """Progress of the copy. Within one attempt it never goes back."""

    received_bytes: Bytes = Field(default=0, alias="bytesTransferred")
    """Bytes received from the appliance."""
    total_bytes: Bytes = 0
    """Sum of the disks' virtual sizes."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of totalBytes that has been received; a lower bound for increments, and 100 only once the restore
    point is committed."""
    summary: ShortText = ""
    """The percentage, as the Progress column shows it."""
    rate_bytes_per_second: Bytes = 0
    """Bytes received per second, averaged over the last half minute; after the end, over the whole copy."""
    rate: ShortText = ""
    """The rate, as the Rate column shows it."""
    eta_seconds: Count | None = None
    """Estimated seconds until the copy ends."""
    eta: ShortText = ""
    """The estimate, as the ETA column shows it."""
    last_update_time: datetime | None = None
    """When the worker last reported something new."""


class BackupDisk(Model):
    """One disk of the VM in this backup."""

    index: Annotated[int, Field(ge=0, lt=MAX_DISKS, alias="id")]
    """Position in the VM's device order."""
    key: Count
    """VMware's device key."""
    virtual_size: Bytes
    """Virtual size: the disk's size as the guest sees it, in bytes."""
    received_bytes: Bytes = Field(default=0, alias="bytesTransferred")
    """Bytes received from the appliance for this disk."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of this disk's virtual size that has been received; a lower bound for an increment, and 100 only when
    the disk is complete."""
    rate_bytes_per_second: Bytes | None = None
    """Bytes received per second, averaged over the last half minute; only while this disk is being copied."""
    rate: ShortText | None = None
    """The rate in a human-readable form."""
    eta_seconds: Count | None = None
    """Estimated seconds until this disk is copied."""
    eta: ShortText | None = None
    """The estimate in a human-readable form."""
    type: BackupType | None = None
    """Kind of the layer that was made: Full or Incremental."""
    reason: ShortText | None = None
    """Why this disk was copied in full although an increment was requested."""
    parent: ObjectName | None = None
    """Name of the Backup that the increment depends on."""
    parent_change_id: Text | None = Field(default=None, alias="parentChangeID")
    """Change ID of the parent: the increment holds what changed since then."""
    depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of layers that a restore of this disk reads, this one included."""
    file: Text | None = None
    """Path of the QCOW2 layer below the repository's root."""
    stored_bytes: Bytes | None = None
    """Bytes that the layer's file occupies."""
    guest_bytes: Bytes | None = None
    """Bytes of guest data in the layer, without zeroes and holes."""
    changed_bytes: Bytes | None = None
    """Bytes of a compacted increment that differ from its parent, those that became zeroes included."""
    compaction: ShortText | None = None
    """What became of the compaction of an increment: Compacted, or why the layer is stored as received: NotWorthIt (too
    little could be saved), NotSmaller (all of it differs), NoRoom (none for a second layer), Failed (the worker's log
    says why), Never (spec.compaction of the BackupChain)."""
    change_id: Text | None = Field(default=None, alias="changeID")
    """VMware's change ID (CBT) of the disk at this restore point; the next increment begins there."""


class BackupVerification(Model):
    """When the restore point was last verified, and when it was last proven to read as it was written."""

    time: datetime | None = None
    """When it was last verified, whatever the result."""
    structure_time: datetime | None = None
    """When its layers were last checked."""
    content_time: datetime | None = None
    """When all of its content was last read and compared with its digests."""
    request: Text = ""
    """Value of the annotation backup.sendense.io/verify that was last acted on."""


class BackupStatus(Status):
    """State and result of the Backup."""

    phase: Phase | None = None
    """Summary of the conditions."""
    type: BackupType | None = None
    """Type of the result: Incremental if every disk is an increment, otherwise Full."""
    adopted: bool | None = None
    """Whether the restore point was found in the repository rather than made by this object."""
    stage: Stage | None = None
    """What the running worker is doing."""
    message: ShortText | None = None
    """The most important condition's message, shortened for the Message column."""
    vm_name: Text | None = None
    """Name of the VM in vCenter."""
    chain_name: ObjectName | None = None
    """The BackupChain that this restore point belongs to."""
    worker_job: ObjectName | None = None
    """Name of the Kubernetes Job that runs the worker."""
    job_id: ShortText | None = Field(default=None, alias="jobID")
    """Job ID of the latest attempt on the VMA."""
    attempts: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of worker pods so far."""
    node_name: Text | None = None
    """Node of the latest worker."""
    worker_death: Text | None = None
    """How a worker ended that left no answer. A recovery attempt then only checks whether it had committed."""
    start_time: datetime | None = None
    """When the first worker was started."""
    completion_time: datetime | None = None
    """When the Backup ended."""
    duration_seconds: Count | None = None
    """Seconds from the start of the first worker to the end, over all attempts."""
    duration: ShortText | None = None
    """The duration, as the Duration column shows it."""
    last_failure: Text | None = None
    """Reason and message with which the attempt before the latest one failed."""
    progress: BackupProgress | None = None
    """Progress of the copy; after the end, its average rate."""
    stored_bytes: Bytes | None = None
    """Bytes that all layers of this backup occupy."""
    stored: ShortText | None = None
    """The stored bytes, as the Stored column shows them."""
    repository_id: ShortText | None = Field(default=None, alias="repositoryID")
    """ID of the repository that holds the files."""
    guest_bytes: Bytes | None = None
    """Bytes of guest data in all layers of this backup."""
    manifest: Text | None = None
    """Path of the manifest below the repository's root; the restore point is committed once this file exists."""
    retained_until: datetime | None = None
    """Until when the restore point is immutable, as its manifest says: this object then stays when it is deleted.
    More days in spec.immutability of the BackupRepository make it later; see status.restorePoints of the BackupChain.
    Absent: it was committed without a time."""
    restore_point_uid: ShortText | None = Field(default=None, alias="restorePointUID")
    """UID of the restore point in the repository: that of the Backup object that made it."""
    hardware: KnownHardware | None = None
    """The VM's hardware when the restore point was made, for Restores with spec.target.virtualMachine. Absent: an
    earlier version made the restore point, or no scan has read its manifest yet."""
    verification: BackupVerification | None = None
    """When the restore point was last verified; the condition Verified says with which result."""
    disks: Annotated[
        list[BackupDisk],
        Field(
            max_length=MAX_DISKS,
            json_schema_extra=keyed_by("id"),
        ),
    ] = []
    """The VM's disks, in device order."""


BACKUP = Resource(
    kind="Backup",
    plural="backups",
    short_name="bkp",
    description="One restore point of one VM: all its disks, committed together or not at all.",
    spec=BackupSpec,
    status=BackupStatus,
    columns=(
        Column("VM", ".spec.vmRef.name"),
        Column("Type", ".spec.type"),
        Column("Phase", ".status.phase"),
        Column("Progress", ".status.progress.summary"),
        Column("Rate", ".status.progress.rate"),
        Column("Duration", ".status.duration"),
        Column("Stored", ".status.stored"),
        Column("Repository", ".spec.repositoryRef.name"),
        AGE,
        Column("Ran", ".status.type", priority=1),
        Column("ETA", ".status.progress.eta", priority=1),
        Column("Chain", ".status.chainName", priority=1),
        Column("Verified", ".status.conditions[?(@.type=='Verified')].reason", priority=1),
        Column("Retained", ".status.retainedUntil", priority=1),
        Column("Node", ".status.nodeName", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
    selectable=(
        ".spec.vmRef.name",
        ".spec.repositoryRef.name",
        ".spec.policyRef.name",
        ".spec.type",
        ".status.phase",
    ),
)
