"""Restore: disks of a restore point, written to claims or only verified."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from sendense_operator.answer import MOST_DAMAGED_RANGES
from sendense_operator.api.v1alpha1.backup import Phase
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
    SubdomainName,
    Text,
    immutable,
    keyed_by,
    rules,
)
from sendense_operator.api.v1alpha1.file_target import FileTarget
from sendense_operator.api.v1alpha1.restore_target import DiskIndex, NBDTarget, RestoreTarget
from sendense_operator.api.v1alpha1.virtual_machine_target import PlannedMachine, VirtualMachineTarget
from sendense_operator.task import Stage

LATEST: Final = "Latest"
"""Value of `spec.source.at` for the newest restore point."""


class RestoreSource(Model):
    """The restore point, and which of its disks."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.backupRef) != has(self.vmRef)",
                "spec.source: set either backupRef, or vmRef together with repositoryRef",
            ),
            (
                "has(self.vmRef) == has(self.repositoryRef)",
                "spec.source: vmRef and repositoryRef must be set together",
            ),
            ("!has(self.at) || has(self.vmRef)", "spec.source.at requires vmRef and repositoryRef"),
            (
                f"!has(self.at) || self.at == '{LATEST}' || timestamp(self.at) > timestamp('2000-01-01T00:00:00Z')",
                f"spec.source.at must be {LATEST} or a time after the year 2000",
            ),
        )
    )

    backup_ref: LocalRef | None = None
    """The Backup whose restore point is restored."""
    vm_ref: LocalRef | None = None
    """The ProtectedVM of which the newest undamaged restore point is chosen that `at` allows. It need not exist: its
    name is enough."""
    repository_ref: LocalRef | None = None
    """The BackupRepository that holds the restore point of vmRef."""
    at: (
        Annotated[
            str,
            Field(
                max_length=40,
                pattern=rf"^({LATEST}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}"
                r"(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))$",
            ),
        ]
        | None
    ) = None
    """Latest, or a time such as 2026-01-31T12:00:00Z: only restore points that were complete by then are considered.
    Absent: Latest."""
    disks: Annotated[
        list[DiskIndex], Field(max_length=MAX_DISKS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Indexes of the disks to restore, which are the positions in the VM's device order. Empty: all."""


class RestoreSpec(Model):
    """What to restore, and where to. Only `cancel` can be changed later."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.target) != (has(self.verifyOnly) && self.verifyOnly)",
                "spec: set either target, or verifyOnly: true",
            ),
            ("has(self.target) == has(oldSelf.target)", "spec.target is immutable: create a new object instead"),
            (
                "!has(self.target) || !has(self.target.persistentVolumeClaims) || !has(self.source.disks) || "
                "size(self.source.disks) == 0 || "
                "self.target.persistentVolumeClaims.all(c, c.disk in self.source.disks)",
                "spec.target.persistentVolumeClaims: spec.source.disks does not contain each disk that has a claim",
            ),
        )
    )

    source: Annotated[RestoreSource, Field(json_schema_extra=immutable("spec.source"))]
    """The restore point, and which of its disks."""
    target: Annotated[RestoreTarget | None, Field(json_schema_extra=immutable("spec.target"))] = None
    """Where the disks are written; absent with verifyOnly."""
    verify_only: Annotated[bool, Field(json_schema_extra=immutable("spec.verifyOnly"))] = False
    """Whether all content is read and compared with its digests, and nothing is written."""
    allow_damaged: Annotated[bool, Field(json_schema_extra=immutable("spec.allowDamaged"))] = False
    """Whether to go on where the restore point is damaged: the target has zeroes there, and the status lists the
    places. Otherwise the restore fails at the first damaged chunk. With `at`, damaged restore points are still
    passed over if there is an undamaged one."""
    retries: Annotated[int, Field(ge=0, le=10, json_schema_extra=immutable("spec.retries"))] = 2
    """How many more attempts may follow a failed one. An attempt that was evicted does not count."""
    start_deadline_seconds: Annotated[
        int, Field(ge=5, le=2_592_000, json_schema_extra=immutable("spec.startDeadlineSeconds"))
    ] = 86_400
    """Seconds that the Restore may wait for what it needs, such as a free slot, before it fails."""
    active_deadline_seconds: Annotated[
        int, Field(ge=10, le=2_592_000, json_schema_extra=immutable("spec.activeDeadlineSeconds"))
    ] = 172_800
    """Seconds that all attempts together may take before the Restore fails. It does not apply to spec.target.nbd."""
    cancel: bool = False
    """Set to true to stop a pending or running Restore; it ends as Cancelled, and its unfinished images are removed.
    Setting it back to false does not restart a Restore that has ended."""

    @property
    def nbd(self) -> NBDTarget | None:
        """The NBD export, None if the disks are written or only verified."""
        return self.target.nbd if self.target is not None else None

    @property
    def virtual_machine(self) -> VirtualMachineTarget | None:
        """The VirtualMachine to make, None if there is none."""
        return self.target.virtual_machine if self.target is not None else None

    @property
    def file(self) -> FileTarget | None:
        """The files in a claim, None if the disks go elsewhere."""
        return self.target.file if self.target is not None else None

    @property
    def serves_tls(self) -> bool:
        """Whether the disks are served with TLS."""
        return self.nbd is not None and self.nbd.tls is not None


class ChosenPoint(Model):
    """The restore point that is restored. It stays the same, whatever is backed up meanwhile."""

    backup_name: ObjectName
    """Name of its Backup."""
    uid: ShortText
    """UID of the restore point in the repository."""
    vm_name: ObjectName
    """Name of its ProtectedVM."""
    repository_name: ObjectName
    """Name of the BackupRepository that holds it."""
    time: datetime
    """When it was committed."""


class DamagedPlace(Model):
    """Part of a disk that is damaged in the restore point, and zeroes in the target."""

    offset: Bytes
    """First byte of the disk."""
    length: Bytes
    """Number of bytes."""


class RestoredDiskStatus(Model):
    """One disk of the restore."""

    index: DiskIndex
    """Disk index in the restore point."""
    virtual_size: Bytes
    """Virtual size: the disk's size as the guest sees it, in bytes."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of layers that are read."""
    claim_name: SubdomainName | None = None
    """The claim that receives the disk."""
    storage_class_name: SubdomainName | None = None
    """StorageClass of the claim that is made for a VirtualMachine; absent: the cluster's default."""
    file: Text | None = None
    """Path in the claim of the file that receives the disk; only with spec.target.file."""
    processed_bytes: Bytes = 0
    """Bytes of the disk that are done, holes included."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of the virtual size that is done; 100 only once the target was read back."""
    uri: Text | None = None
    """NBD URI of the disk, once it can be read."""
    rate: ShortText | None = None
    """Bytes per second in a human-readable form, while the disk is restored."""
    eta: ShortText | None = None
    """Estimated time until the disk is done, in a human-readable form."""
    data_bytes: Bytes | None = None
    """Bytes of chunks that are not known to be zeroes; known at the end."""
    written_bytes: Bytes | None = None
    """Bytes that the last attempt wrote; known at the end."""
    damaged_bytes: Bytes | None = None
    """Bytes that are damaged in the restore point, and zeroes in the target; only with spec.allowDamaged."""
    damaged: Annotated[
        list[DamagedPlace],
        Field(max_length=MOST_DAMAGED_RANGES, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The first damaged places; the log of the pod has all."""


class RestoreProgress(Model):
    """Progress of the restore. Within one attempt it never goes back."""

    processed_bytes: Bytes = 0
    """Bytes of all disks that are done, holes included."""
    total_bytes: Bytes = 0
    """Sum of the disks' virtual sizes."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of totalBytes that is done; 100 only once all targets were read back."""
    summary: ShortText = ""
    """The percentage, as the Progress column shows it."""
    rate_bytes_per_second: Bytes = 0
    """Bytes per second, averaged over the last half minute; after the end, over the whole restore."""
    rate: ShortText = ""
    """The rate, as the Rate column shows it."""
    eta_seconds: Count | None = None
    """Estimated seconds until the end."""
    eta: ShortText = ""
    """The estimate, as the ETA column shows it."""
    last_update_time: datetime | None = None
    """When the worker last reported something new."""


class RestoreStatus(Status):
    """State and result of the Restore."""

    phase: Phase | None = None
    """Summary of the conditions; never Lost."""
    stage: Stage | None = None
    """What the running worker is doing."""
    message: ShortText | None = None
    """The most important condition's message, shortened for the Message column."""
    restore_point: ChosenPoint | None = None
    """The restore point that was chosen."""
    virtual_machine: PlannedMachine | None = None
    """The VirtualMachine that is made at the end: as the restore point and spec.target.virtualMachine say."""
    worker_job: ObjectName | None = None
    """Name of the Kubernetes Job that runs the worker."""
    sender_job: ObjectName | None = None
    """Name of the Kubernetes Job whose pod serves the disks to the worker, if no node can mount the volumes of both the
    repository and the targets."""
    tls_secret: SubdomainName | None = None
    """Name of the Secret with the key for spec.target.nbd.tls, in its entry keys.psk: for the user qemu. It is deleted
    with the Restore."""
    attempts: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of worker pods so far."""
    node_name: Text | None = None
    """Node of the latest worker."""
    pod_uid: ShortText | None = Field(default=None, alias="podUID")
    """UID of the latest worker pod."""
    start_time: datetime | None = None
    """When the first worker was started."""
    completion_time: datetime | None = None
    """When the Restore ended."""
    duration_seconds: Count | None = None
    """Seconds from the start of the first worker to the end, over all attempts."""
    duration: ShortText | None = None
    """The duration, as the Duration column shows it."""
    last_failure: Text | None = None
    """Reason and message with which the attempt before the latest one failed."""
    progress: RestoreProgress | None = None
    """Progress; after the end, its average rate."""
    disks: Annotated[list[RestoredDiskStatus], Field(max_length=MAX_DISKS, json_schema_extra=keyed_by("index"))] = []
    """The disks that are restored, in device order."""


RESTORE = Resource(
    kind="Restore",
    plural="restores",
    short_name="brst",
    description="Writes disks of a restore point to claims or files and proves them, or only verifies them.",
    spec=RestoreSpec,
    status=RestoreStatus,
    columns=(
        Column("VM", ".status.restorePoint.vmName"),
        Column("Backup", ".status.restorePoint.backupName"),
        Column("Phase", ".status.phase"),
        Column("Progress", ".status.progress.summary"),
        Column("Rate", ".status.progress.rate"),
        Column("Duration", ".status.duration"),
        AGE,
        Column("Point", ".status.restorePoint.time", "date", priority=1),
        Column("ETA", ".status.progress.eta", priority=1),
        Column("Repository", ".status.restorePoint.repositoryName", priority=1),
        Column("Node", ".status.nodeName", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
    selectable=(".status.phase", ".status.restorePoint.repositoryName"),
)
