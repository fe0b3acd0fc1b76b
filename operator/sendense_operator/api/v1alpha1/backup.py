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
    """What may be asked for."""

    FULL = "Full"
    INCREMENTAL = "Incremental"
    AUTO = "Auto"


class DeletionPolicy(StrEnum):
    """What becomes of a restore point's files when its Backup is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class AdoptedPoint(Model):
    """A restore point that lies in the repository already."""

    uid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36)]
    """UID of the Backup that made it, as its manifest says."""


class BackupSpec(Model):
    """What to back up and where to. Only `cancel` and `deletionPolicy` can be changed later."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.adopt) == has(oldSelf.adopt)", "spec.adopt is immutable: create a new object instead"),
            (
                "has(self.policyRef) == has(oldSelf.policyRef)",
                "spec.policyRef is immutable: create a new object instead",
            ),
            (
                "!has(self.onMissingParent) || self.onMissingParent == 'Full' || self.type == 'Incremental'",
                "spec.onMissingParent: Fail is for type Incremental",
            ),
        )
    )

    vm_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.vmRef"))]
    """The ProtectedVM to back up."""
    repository_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.repositoryRef"))]
    """The BackupRepository to write to."""
    type: Annotated[RequestedType, Field(json_schema_extra=immutable("spec.type"))] = RequestedType.FULL
    """Full copies each disk whole; Incremental what changed since the newest restore point; Auto what fits."""
    on_missing_parent: Annotated[MissingParent, Field(json_schema_extra=immutable("spec.onMissingParent"))] = (
        MissingParent.FULL
    )
    """What an Incremental does with a disk that has no usable parent: copy it in Full, or Fail."""
    deletion_policy: DeletionPolicy | None = None
    """What becomes of the files when this object is deleted. The stricter one of this and the repository's policy
    applies: where either says Retain, they stay. Left out: as the repository says."""
    adopt: Annotated[AdoptedPoint | None, Field(json_schema_extra=immutable("spec.adopt"))] = None
    """Set by the operator on objects for restore points that it found in the repository: nothing is copied."""
    policy_ref: Annotated[LocalRef | None, Field(json_schema_extra=immutable("spec.policyRef"))] = None
    """The BackupPolicy that created it; none: created by hand or adopted."""
    retries: Annotated[int, Field(ge=0, le=10, json_schema_extra=immutable("spec.retries"))] = 2
    """Further attempts after one that failed. Evictions don't count."""
    start_deadline_seconds: Annotated[
        int, Field(ge=5, le=2_592_000, json_schema_extra=immutable("spec.startDeadlineSeconds"))
    ] = 86_400
    """How long the Backup may wait for what it needs before it fails."""
    active_deadline_seconds: Annotated[
        int, Field(ge=10, le=2_592_000, json_schema_extra=immutable("spec.activeDeadlineSeconds"))
    ] = 172_800
    """How long all its attempts together may take before it fails."""
    cancel: bool = False
    """Set to true to stop a Backup that waits or runs; it ends as Cancelled. Can't be taken back once it ended."""


class BackupProgress(Model):
    """How far the copy is. Never goes back while one attempt lasts."""

    received_bytes: Bytes = Field(default=0, alias="bytesTransferred")
    """Bytes received from the appliance."""
    total_bytes: Bytes = 0
    """Sum of the disks' virtual sizes."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of total that has been dealt with; 100 only when committed."""
    summary: ShortText = ""
    """The percentage as the Progress column shows it."""
    rate_bytes_per_second: Bytes = 0
    """Average of the last half minute."""
    rate: ShortText = ""
    """The rate as the Rate column shows it."""
    eta_seconds: Count | None = None
    """Estimated seconds to the end of the copy."""
    eta: ShortText = ""
    """The estimate as the ETA column shows it."""
    last_update_time: datetime | None = None
    """When the worker last reported something new."""


class BackupDisk(Model):
    """One disk of the VM in this backup."""

    index: Annotated[int, Field(ge=0, lt=MAX_DISKS, alias="id")]
    """Position in the VM's device order."""
    key: Count
    """VMware's device key."""
    virtual_size: Bytes
    """Size of the disk as the guest sees it, in bytes."""
    received_bytes: Bytes = Field(default=0, alias="bytesTransferred")
    """Bytes received from the appliance for this disk."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of this disk that has been dealt with."""
    rate_bytes_per_second: Bytes | None = None
    """Average of the last half minute; only of a disk that is being copied."""
    rate: ShortText | None = None
    """The same for people."""
    eta_seconds: Count | None = None
    """Estimated seconds to the end of this disk's copy."""
    eta: ShortText | None = None
    """The same for people."""
    type: BackupType | None = None
    """What ran for this disk."""
    reason: ShortText | None = None
    """Why it is a full although an increment was wanted."""
    parent: ObjectName | None = None
    """Name of the Backup that the increment depends on."""
    parent_change_id: Text | None = Field(default=None, alias="parentChangeID")
    """Change id at which the increment began: its parent's own."""
    depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Layers that have to be read for this disk, this one counted."""
    file: Text | None = None
    """The QCOW2 layer, a path below the repository's root."""
    stored_bytes: Bytes | None = None
    """Bytes that the layer's file occupies."""
    guest_bytes: Bytes | None = None
    """Bytes of the layer that hold guest data: neither zeroes nor holes."""
    change_id: Text | None = Field(default=None, alias="changeID")
    """VMware's change id (CBT), the starting point of the next incremental."""


class BackupStatus(Status):
    """What became of it."""

    phase: Phase | None = None
    """Summary of the conditions."""
    type: BackupType | None = None
    """What ran: Incremental when every disk is an increment."""
    adopted: bool | None = None
    """Whether it was found in the repository."""
    stage: Stage | None = None
    """Where the running worker is."""
    message: ShortText | None = None
    """The most important condition's message, shortened for the Message column."""
    vm_name: Text | None = None
    """Name of the VM in vCenter."""
    chain_name: ObjectName | None = None
    """The BackupChain that this restore point belongs to."""
    worker_job: ObjectName | None = None
    """Name of the Kubernetes Job that runs the worker."""
    job_id: ShortText | None = Field(default=None, alias="jobID")
    """The VMA's job id of the latest attempt."""
    attempts: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Worker pods so far."""
    node_name: Text | None = None
    """Node of the latest worker."""
    worker_death: Text | None = None
    """How the worker ended that left no answer: another one then only checks whether it had committed."""
    start_time: datetime | None = None
    """When the first worker was started."""
    completion_time: datetime | None = None
    """When the Backup reached its end."""
    duration_seconds: Count | None = None
    """From the start of the first worker to the end, all attempts together."""
    duration: ShortText | None = None
    """The same as the Duration column shows it."""
    last_failure: Text | None = None
    """How the attempt before the latest one ended: reason and message."""
    progress: BackupProgress | None = None
    """How far the copy is; after the end the average rate."""
    stored_bytes: Bytes | None = None
    """Bytes that all layers of this backup occupy."""
    stored: ShortText | None = None
    """The same as the Stored column shows it."""
    repository_id: ShortText | None = Field(default=None, alias="repositoryID")
    """Identity of the repository that holds the files."""
    guest_bytes: Bytes | None = None
    """Bytes of its layers that hold guest data."""
    manifest: Text | None = None
    """Path of the manifest below the repository's root: the commit point."""
    restore_point_uid: ShortText | None = Field(default=None, alias="restorePointUID")
    """UID by which the repository knows the restore point: of the Backup object that made it."""
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
