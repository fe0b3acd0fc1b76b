"""BackupPolicy: which VMs are backed up, where to and when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.backup import DeletionPolicy, RequestedType
from sendense_operator.api.v1alpha1.base import (
    AGE,
    MESSAGE,
    READY,
    REASON,
    Column,
    Count,
    LocalRef,
    Model,
    ObjectName,
    Resource,
    ShortText,
    Status,
    Text,
    keyed_by,
    rules,
)
from sendense_operator.api.v1alpha1.cron_schedules import CatchUp, Cron, Schedule, ScheduleStatus, TimeZone
from sendense_operator.api.v1alpha1.label_selector import LabelSelector
from sendense_operator.api.v1alpha1.retention_rules import Retention, RetentionSummary
from sendense_operator.task import MissingParent, VerificationLevel

__all__ = [
    "BACKUP_POLICY",
    "MAX_LATE_VMS",
    "MAX_SCHEDULES",
    "MAX_VMS",
    "BackupPolicySpec",
    "BackupPolicyStatus",
    "BackupTemplate",
    "CatchUp",
    "LateVM",
    "Objective",
    "ObjectiveStatus",
    "Retention",
    "RetentionSummary",
    "Schedule",
    "ScheduleStatus",
    "Verification",
    "VerificationSummary",
]
"""All models of the kind, those of the modules beside this one included."""

MAX_VMS = 1000
MAX_SCHEDULES = 16
MAX_LATE_VMS = 20
"""VMs that miss the objective, as far as the status lists them."""


class BackupTemplate(Model):
    """Fields of each Backup that the policy creates."""

    type: RequestedType = RequestedType.AUTO
    """Of schedules that name none, and of runs on request."""
    on_missing_parent: MissingParent = MissingParent.FULL
    """What an Incremental does with a disk that has no usable parent: copy it in Full, or Fail."""
    deletion_policy: DeletionPolicy | None = None
    """See Backup.spec.deletionPolicy."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further attempts after one that failed."""
    active_deadline_seconds: Annotated[int, Field(ge=10, le=2_592_000)] = 172_800
    """How long all attempts of a Backup together may take before it fails."""


class Objective(Model):
    """How recent the newest restore point of each VM has to be."""

    max_age_seconds: Annotated[int, Field(ge=60, le=315_360_000)]
    """Largest age of a VM's newest usable restore point in the policy's repository, whichever way it came. Its age
    counts from the time at which its content was taken."""


class Verification(Model):
    """When the restore points of each VM are verified, and how."""

    schedule: Cron
    """Five fields, separated by one space: minute, hour, day of the month, month, day of the week. The VMs of a slot
    are verified one after the other, as the repository's maxConcurrentVerifications says."""
    time_zone: TimeZone = "UTC"
    """IANA time zone in which the schedule is read, such as Europe/Berlin."""
    level: VerificationLevel = VerificationLevel.CONTENT
    """Structure: the layers of all restore points have the right headers and pass qemu-img check. Content: as
    Structure; in addition all content of the restore points that have never been read, and of a share of the others,
    is read and compared with its digests."""
    full_cycle_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Within so many days all content of each restore point is read once; only for the level Content."""
    bytes_per_second: Annotated[int, Field(ge=1 << 20, le=1 << 40)] | None = None
    """How many bytes per second each verification reads at most; absent: as fast as the storage delivers."""


class BackupPolicySpec(Model):
    """What is protected, and when."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.vmSelector) || (has(self.vmRefs) && size(self.vmRefs) > 0)",
                "spec: name VMs by vmSelector, vmRefs or both",
            ),
        )
    )

    vm_selector: LabelSelector | None = None
    """ProtectedVMs of the namespace by their labels."""
    vm_refs: Annotated[
        list[LocalRef],
        Field(
            max_length=MAX_VMS,
            json_schema_extra=keyed_by("name"),
        ),
    ] = []
    """Further ProtectedVMs by name."""
    repository_ref: LocalRef
    """The BackupRepository to write to."""
    backup: BackupTemplate = BackupTemplate()
    """Fields of each Backup that the policy creates."""
    schedules: Annotated[
        list[Schedule],
        Field(
            max_length=MAX_SCHEDULES,
            json_schema_extra=keyed_by("name"),
        ),
    ] = []
    """When to run; none: only on request, by the annotation backup.sendense.io/run."""
    jitter_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """The Backups of a slot are spread evenly over so many seconds, at most until the schedule's next slot."""
    catch_up: CatchUp = CatchUp.ONCE
    """Once: of slots that were missed (no controller, a stopped cluster) the newest is made up for. Skip: none is."""
    start_deadline_seconds: Annotated[int, Field(ge=5, le=2_592_000)] = 86_400
    """How long a Backup may wait for what it needs before it fails. While it waits or runs, its VM's slots are left
    out."""
    retention: Retention | None = None
    """Which restore points are kept; the Backups of others are deleted. None: all stay."""
    objective: Objective | None = None
    """How recent the newest restore point of each VM has to be. It starts no Backup: the status of the policy and of
    its ProtectedVMs say which VMs miss it. None: their age is not checked."""
    verification: Verification | None = None
    """When restore points are verified, and how. None: only on request, by the annotation backup.sendense.io/verify on
    a Backup or a BackupChain."""
    failed_history_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """How many of the policy's Backups that failed or were cancelled are kept per VM; older ones are deleted."""
    suspend: bool = False
    """Set to true to leave the slots of all schedules out, that of the verification included, and to delete no Backup.
    Slots are not made up for afterwards."""


class VerificationSummary(Model):
    """Verification of the restore points of all VMs together."""

    restore_points: Count = 0
    """How many there are."""
    verified: Count = 0
    """How many of them are verified as spec.verification requires."""
    damaged: Count = 0
    """How many of them do not read as they were written."""
    running: Count = 0
    """VMs whose restore points are being verified now, or wait for it."""
    last_time: datetime | None = None
    """When the last verification of a VM ended."""
    next_time: datetime | None = None
    """The next slot of its schedule."""


class LateVM(Model):
    """A VM that misses the objective."""

    vm: ShortText
    """Name of the ProtectedVM."""
    reason: ShortText
    """Why: the reason as in its condition Protected."""
    backup: ObjectName | None = None
    """Name of its newest usable restore point's Backup; absent: it has none."""
    time: datetime | None = None
    """When the content of that restore point was taken."""


class ObjectiveStatus(Model):
    """How many VMs are within the objective."""

    vms: Count = 0
    """VMs that count. Those that vCenter no longer has, and those that are being deleted, do not."""
    within: Count = 0
    """How many of them have a restore point that is recent enough."""
    summary: ShortText = ""
    """The same as the Within column shows it."""
    worst: Annotated[
        list[LateVM], Field(max_length=MAX_LATE_VMS, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """VMs that miss the objective: those without a usable restore point first, then the oldest (at most 20)."""


class BackupPolicyStatus(Status):
    """What it protects, and when it ran."""

    vms: Count = 0
    """ProtectedVMs that it backs up."""
    conflicting: Count = 0
    """ProtectedVMs that an older policy backs up to the same repository."""
    last_time: datetime | None = None
    """When it last created Backups."""
    last_created: Count | None = None
    """Backups of the slot or request that was last run to its end."""
    last_skipped: Count | None = None
    """VMs that were left out then, since an earlier Backup of theirs had not ended."""
    next_time: datetime | None = None
    """The next slot of all schedules."""
    last_request: Text = ""
    """Value of the annotation backup.sendense.io/run that was last acted on."""
    retention: RetentionSummary | None = None
    """What the retention keeps; none without spec.retention."""
    objective: ObjectiveStatus | None = None
    """Which VMs are within the objective; none without spec.objective."""
    verification: VerificationSummary | None = None
    """Which restore points are verified; none without spec.verification."""
    schedules: Annotated[
        list[ScheduleStatus],
        Field(
            max_length=MAX_SCHEDULES,
            json_schema_extra=keyed_by("name"),
        ),
    ] = []
    """Each schedule."""


BACKUP_POLICY = Resource(
    kind="BackupPolicy",
    plural="backuppolicies",
    short_name="bpol",
    description="Creates Backups of VMs on schedule.",
    spec=BackupPolicySpec,
    status=BackupPolicyStatus,
    columns=(
        Column("Repository", ".spec.repositoryRef.name"),
        Column("VMs", ".status.vms", "integer"),
        Column("Within", ".status.objective.summary"),
        READY,
        REASON,
        Column("Last", ".status.lastTime", "date"),
        Column("Next", ".status.nextTime"),
        Column("Suspended", ".spec.suspend", "boolean"),
        AGE,
        Column("Verified", ".status.conditions[?(@.type=='Verified')].reason", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.repositoryRef.name",),
)
