"""BackupRepository: a claim that holds restore points."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sendense_operator.api.v1alpha1.backup import DeletionPolicy
from sendense_operator.api.v1alpha1.base import (
    AGE,
    MESSAGE,
    READY,
    REASON,
    Bytes,
    Column,
    Count,
    Model,
    Resource,
    ShortText,
    Status,
    SubdomainName,
    Text,
    immutable,
)
from sendense_operator.api.v1alpha1.pod_template import PodTemplate
from sendense_operator.task import MAX_IMMUTABLE_DAYS

_Id = Annotated[int, Field(ge=1, le=2_147_483_647)]


class PodSecurity(Model):
    """User and groups of the worker, for storage that squashes users or ignores fsGroup. Never root."""

    run_as_user: _Id = 65532
    """User ID of the worker."""
    run_as_group: _Id = 65532
    """Group ID of the worker."""
    fs_group: _Id = 65532
    """Group ID that owns the volume, if the volume's type supports that."""
    supplemental_groups: Annotated[list[_Id], Field(max_length=16)] = []
    """IDs of further groups of the worker, such as the group that owns an NFS export."""


class RepositoryImmutability(Model):
    """For how long restore points are immutable: neither removed nor rewritten, whoever requests it."""

    days: Annotated[int, Field(ge=1, le=MAX_IMMUTABLE_DAYS)]
    """Days from the commit of a restore point. Each one keeps the time that it was committed with. More days apply to
    earlier restore points, too; fewer days, or none, only take that back."""


class BackupRepositorySpec(Model):
    """Where the files are stored: a PersistentVolumeClaim."""

    claim_name: Annotated[SubdomainName, Field(json_schema_extra=immutable("spec.claimName"))]
    """Name of the PersistentVolumeClaim in the same namespace. A claim can have one BackupRepository."""
    path: Annotated[
        str,
        Field(
            max_length=253,
            pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$",
            json_schema_extra=immutable("spec.path"),
        ),
    ] = ""
    """Folder of the volume that is the repository's root, a relative path without `..`; empty: the volume's root."""
    max_concurrent_backups: Annotated[int, Field(ge=1, le=1000)] = 4
    """How many Backups may write at the same time. A ReadWriteOncePod claim allows only one, whatever this value is."""
    max_concurrent_verifications: Annotated[int, Field(ge=1, le=100)] = 1
    """How many chains may be verified at the same time, beside the Backups that write. While a Backup needs a
    ReadWriteOncePod claim, nothing is verified."""
    max_concurrent_consolidations: Annotated[int, Field(ge=1, le=100)] = 1
    """How many chains may be consolidated at the same time, beside the Backups that write. While something else needs
    a ReadWriteOncePod claim, nothing is consolidated."""
    max_concurrent_restores: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many Restores may read at the same time, beside the Backups that write."""
    min_free_bytes: Bytes = 1 << 30
    """Bytes to keep free: when less is free, running backups are stopped and no backup is started."""
    probe_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """Seconds between two probes: a pod checks whether the repository is present and writable, and its free space."""
    scan_interval_seconds: Annotated[int, Field(ge=10, le=2_592_000)] = 21_600
    """Seconds between two scans: all restore points of the repository are listed and compared with the Backups. A new
    value of the annotation backup.sendense.io/scan requests a scan at once."""
    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What happens to a restore point's files when its Backup is deleted. A Backup cannot override Retain."""
    deletion_grace_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 0
    """Seconds for which a deleted restore point is kept complete before its files are removed. Until then, a Backup
    with spec.adopt.uid brings it back."""
    immutability: RepositoryImmutability | None = None
    """Protects restore points from deletion, by mistake or malice, for a number of days. Absent: they can be deleted
    at any time. Who has access to the storage itself can remove files all the same."""
    max_chain_depth: Annotated[int, Field(ge=1, le=64)] = 32
    """How many layers a disk may have, its full included. When the limit is reached, the next backup of the disk is a
    full. Reading many layers is slow."""
    folder: Annotated[
        str,
        Field(
            max_length=63,
            pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
            json_schema_extra=immutable("spec.folder"),
        ),
    ] = ""
    """Folder below the repository's root that holds the chains: the name of the namespace that wrote them. Empty: this
    object's namespace. Set it to take over the restore points of another namespace or cluster."""
    pod_security: PodSecurity = PodSecurity()
    """User and groups of the pods that mount the claim."""
    pod_template: PodTemplate | None = None
    """Labels, annotations, placement, priority and resources of all pods that mount the claim: workers, probes, scans
    and removals. It overrides the chart's values; what the operator itself needs overrides both. A change does not
    affect running pods."""


class Enforcer(StrEnum):
    """What keeps immutable restore points."""

    OPERATOR = "Operator"
    """The operator's own rule: none of its pods removes or rewrites their files before their time."""
    FILE_SYSTEM = "FileSystem"
    """Also the immutable bit of the files (chattr +i): then only root on the storage can remove them."""


class ImmutabilityStatus(Model):
    """What keeps the immutable restore points of this repository."""

    enforced_by: Enforcer
    """As the last maintenance Job found it."""
    message: ShortText = ""
    """Why the file system does not take part; empty if it does."""


class RepositoryCapacity(Model):
    """Capacity of the file system that holds the repository."""

    total_bytes: Bytes
    """Size of the file system."""
    free_bytes: Bytes
    """Bytes that the worker can still write."""
    free: ShortText = ""
    """Free and total bytes, as the Free column shows them."""
    free_files: Count | None = None
    """Number of files that can still be created (inodes); absent if the file system has no such limit."""


class Catalogue(Model):
    """Result of the last scan."""

    time: datetime | None = None
    """When the last complete scan was started."""
    request: ShortText = ""
    """Value that the annotation backup.sendense.io/scan had at the last scan that it requested."""
    points: Count = 0
    """Number of restore points."""
    chains: Count = 0
    """Number of chains, which is the number of VMs with restore points."""
    adopted: Count = 0
    """Number of Backups that the last scan created for restore points without one."""
    lost: Count = 0
    """Number of completed Backups whose restore point was not found."""
    damaged: Count = 0
    """Number of restore points that do not read back as they were written."""
    waiting: Count = 0
    """Number of deleted restore points whose layers are still needed by others."""
    unknown_files: Count = 0
    """Number of orphans, files that no manifest names, that stay where they are."""
    quarantined: Count = 0
    """Number of orphans that were moved into a chain's .quarantine folder. They are never deleted."""
    unreadable: Count = 0
    """Number of manifests that cannot be read. Nothing of their chains is freed."""
    newer: Count = 0
    """Number of manifests of a newer format. They are not touched, and nothing of their chains is freed."""
    other_folders: Annotated[
        list[ShortText], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Folders of other namespaces that hold restore points; see spec.folder."""


class BackupRepositoryStatus(Status):
    """Health, capacity and content of the repository."""

    repository_id: ShortText | None = Field(default=None, alias="repositoryID")
    """ID in the repository's marker file."""
    volume_name: Text | None = None
    """Name of the PersistentVolume that is bound to the claim."""
    capacity: RepositoryCapacity | None = None
    """Capacity at the last probe or backup."""
    points: Count = 0
    """Number of restore points that exist now, in all chains of this object."""
    active_backups: Count = 0
    """Number of workers that write now."""
    last_probe_time: datetime | None = None
    """When a maintenance Job last checked the repository."""
    catalogue: Catalogue | None = None
    """Result of the last scan."""
    immutability: ImmutabilityStatus | None = None
    """What keeps immutable restore points; absent without spec.immutability, and until it was checked."""


BACKUP_REPOSITORY = Resource(
    kind="BackupRepository",
    plural="backuprepositories",
    short_name="brepo",
    description="A PersistentVolumeClaim that holds restore points.",
    spec=BackupRepositorySpec,
    status=BackupRepositoryStatus,
    columns=(
        Column("Claim", ".spec.claimName"),
        READY,
        REASON,
        Column("Free", ".status.capacity.free"),
        Column("Points", ".status.points", "integer"),
        Column("Active", ".status.activeBackups", "integer"),
        AGE,
        Column("Volume", ".status.volumeName", priority=1),
        Column("Scanned", ".status.catalogue.time", "date", priority=1),
        Column("Immutable", ".status.immutability.enforcedBy", priority=1),
        Column("Probed", ".status.lastProbeTime", "date", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.claimName",),
)
