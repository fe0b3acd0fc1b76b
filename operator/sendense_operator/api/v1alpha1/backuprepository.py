"""BackupRepository: a claim that holds restore points."""

from __future__ import annotations

from datetime import datetime
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

_Id = Annotated[int, Field(ge=1, le=2_147_483_647)]


class PodSecurity(Model):
    """Who the worker is, for storage that squashes users or ignores fsGroup. Never root."""

    run_as_user: _Id = 65532
    """User id of the worker."""
    run_as_group: _Id = 65532
    """Group id of the worker."""
    fs_group: _Id = 65532
    """Group that the volume is given to, where its type supports that."""
    supplemental_groups: Annotated[list[_Id], Field(max_length=16)] = []
    """Further groups, such as the one an NFS export belongs to."""


class BackupRepositorySpec(Model):
    """Where the files go: a PersistentVolumeClaim, and nothing else."""

    claim_name: Annotated[SubdomainName, Field(json_schema_extra=immutable("spec.claimName"))]
    """The PersistentVolumeClaim, in the same namespace. One BackupRepository a claim."""
    path: Annotated[
        str,
        Field(
            max_length=253,
            pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$",
            json_schema_extra=immutable("spec.path"),
        ),
    ] = ""
    """Folder inside the volume that is the repository's root; empty: the volume's own root. Relative, without `..`."""
    max_concurrent_backups: Annotated[int, Field(ge=1, le=1000)] = 4
    """Backups that may write at the same time. A ReadWriteOncePod claim allows one, whatever stands here."""
    min_free_bytes: Bytes = 1 << 30
    """Free space to keep: a backup that gets below it is stopped, and none is started."""
    probe_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """How often a pod checks whether the repository is there, writable and how full."""
    scan_interval_seconds: Annotated[int, Field(ge=10, le=2_592_000)] = 21_600
    """How often all restore points of the repository are listed and compared with the Backups. Asked for at once by a
    new value of the annotation backup.sendense.io/scan."""
    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What becomes of a restore point's files when its Backup is deleted. Retain binds: a Backup can't loosen it."""
    deletion_grace_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 0
    """How long a deleted restore point is kept whole before its files are removed. Until then a Backup with
    spec.adopt.uid takes it back."""
    max_chain_depth: Annotated[int, Field(ge=1, le=64)] = 32
    """Layers that a disk may have, the full counted: the next backup is a full then. Deep chains are slow to read."""
    folder: Annotated[
        str,
        Field(
            max_length=63,
            pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
            json_schema_extra=immutable("spec.folder"),
        ),
    ] = ""
    """Folder of the chains below the repository's root: the name of the namespace that wrote them. Empty: this object's
    own namespace. Set it to take over restore points of another namespace or cluster."""
    pod_security: PodSecurity = PodSecurity()
    """User and groups of the pods that mount the claim."""
    pod_template: PodTemplate | None = None
    """Labels, annotations, placement, priority and resources of all pods that mount the claim: workers, probes, scans
    and removals. Wins over the chart's values; what the operator itself needs wins over both. Pods that run stay."""


class RepositoryCapacity(Model):
    """Of the file system that holds the repository."""

    total_bytes: Bytes
    """Size."""
    free_bytes: Bytes
    """Free for the worker."""
    free: ShortText = ""
    """Free and total as the Free column shows them."""
    free_files: Count | None = None
    """Files that can still be created (inodes); absent where the file system has no such limit."""


class Catalogue(Model):
    """What the last scan found."""

    time: datetime | None = None
    """When the last complete scan was started."""
    request: ShortText = ""
    """Value of the annotation backup.sendense.io/scan that was answered last."""
    points: Count = 0
    """Restore points."""
    chains: Count = 0
    """VMs with restore points."""
    adopted: Count = 0
    """Backups that were made for restore points which had none, at the last scan."""
    lost: Count = 0
    """Completed Backups whose restore point was not there."""
    damaged: Count = 0
    """Restore points that can't be read as they were written."""
    waiting: Count = 0
    """Deleted restore points whose layers others still need."""
    unknown_files: Count = 0
    """Orphans that stay where they are."""
    quarantined: Count = 0
    """Unknown files that were moved into a chain's .quarantine folder; never deleted."""
    unreadable: Count = 0
    """Manifests that can't be read: nothing of their chain is freed."""
    newer: Count = 0
    """Manifests of a newer format: left alone, and nothing of their chain is freed."""
    other_folders: Annotated[
        list[ShortText], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Folders of other namespaces that hold restore points: see spec.folder."""


class BackupRepositoryStatus(Status):
    """Health and capacity."""

    repository_id: ShortText | None = Field(default=None, alias="repositoryID")
    """Identity written into the repository's marker file."""
    volume_name: Text | None = None
    """The PersistentVolume behind the claim."""
    capacity: RepositoryCapacity | None = None
    """As of the last probe or backup."""
    points: Count = 0
    """Restore points that are there now, of all chains of this object."""
    active_backups: Count = 0
    """Workers that write now."""
    last_probe_time: datetime | None = None
    """When a pod last looked."""
    catalogue: Catalogue | None = None
    """What the last scan found."""


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
        Column("Probed", ".status.lastProbeTime", "date", priority=1),
        MESSAGE,
    ),
    selectable=(".spec.claimName",),
)
