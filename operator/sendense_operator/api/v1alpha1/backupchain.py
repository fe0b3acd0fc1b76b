"""BackupChain: the restore points of one VM in one repository."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

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
    immutable,
)
from sendense_operator.task import BackupType


class BackupChainSpec(Model):
    """Which chain this is. Written by the controller."""

    vm_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.vmRef"))]
    """The ProtectedVM."""
    repository_ref: Annotated[LocalRef, Field(json_schema_extra=immutable("spec.repositoryRef"))]
    """The BackupRepository."""


class RestorePoint(Model):
    """One committed backup."""

    backup: ObjectName
    """Name of the Backup."""
    time: datetime
    """When it was committed."""
    type: BackupType
    """What it is made of."""
    stored_bytes: Bytes = 0
    """Bytes that its layers occupy."""


class BackupChainStatus(Status):
    """What the chain holds."""

    points: Count = 0
    """Number of restore points."""
    latest_backup: ObjectName | None = None
    """Name of the newest committed Backup."""
    latest_time: datetime | None = None
    """When it was committed."""
    stored_bytes: Bytes = 0
    """Bytes that all layers occupy."""
    stored: ShortText | None = None
    """The same as the Stored column shows it."""
    virtual_bytes: Bytes = 0
    """Sum of the disks' sizes at the newest point."""
    restore_points: Annotated[
        list[RestorePoint],
        Field(
            max_length=MAX_POINTS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["backup"]},
        ),
    ] = []
    """The newest restore points, oldest first (at most 1000 are listed; `points` counts all)."""


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
        Column("Stored", ".status.stored"),
        READY,
        AGE,
        MESSAGE,
    ),
    selectable=(".spec.vmRef.name", ".spec.repositoryRef.name"),
)
