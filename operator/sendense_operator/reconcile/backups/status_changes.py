"""What reconciles change in a Backup's status: typed, so that a wrong field or value is found by the type checker."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from sendense_operator.answer import DiskAnswer
from sendense_operator.api.v1alpha1.backup import (
    BackupDisk,
    BackupProgress,
    BackupStatus,
    BackupVerification,
    Phase,
)
from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.api.v1alpha1.known_hardware import KnownHardware
from sendense_operator.task import BackupType, Stage


class BackupChanges(TypedDict, total=False):
    """Fields of `BackupStatus` by name. `next_backup_status` derives the others from the conditions and times."""

    type: BackupType | None
    adopted: bool | None
    stage: Stage | None
    vm_name: str | None
    chain_name: str | None
    worker_job: str | None
    job_id: str | None
    attempts: int | None
    node_name: str | None
    worker_death: str | None
    start_time: datetime | None
    completion_time: datetime | None
    last_failure: str | None
    progress: BackupProgress | None
    stored_bytes: int | None
    stored: str | None
    repository_id: str | None
    guest_bytes: int | None
    manifest: str | None
    retained_until: datetime | None
    restore_point_uid: str | None
    hardware: KnownHardware | None
    verification: BackupVerification | None
    disks: list[BackupDisk]


class DerivedChanges(BackupChanges, total=False):
    """All fields of `BackupStatus`: those that reconciles change, and those that are derived from them."""

    observed_generation: int | None
    conditions: list[Condition]
    phase: Phase | None
    message: str | None
    duration: str | None
    duration_seconds: int | None


class LayerFields(TypedDict, total=False):
    """Fields of `BackupDisk` that tell of the layer, as the manifest does. A consolidation changes them."""

    type: BackupType | None
    parent: str | None
    parent_change_id: str | None
    depth: int | None
    file: str | None
    stored_bytes: int | None
    guest_bytes: int | None
    changed_bytes: int | None
    compaction: str | None


class DiskChanges(LayerFields, total=False):
    """Fields of `BackupDisk` that change without a new report of the worker."""

    received_bytes: int
    percent: int
    rate_bytes_per_second: int | None
    rate: str | None
    eta_seconds: int | None
    eta: str | None


class ProgressChanges(TypedDict, total=False):
    """Fields of `BackupProgress` that change without a new report of the worker."""

    rate_bytes_per_second: int
    rate: str
    eta_seconds: int | None
    eta: str


def changed_status(status: BackupStatus, changes: BackupChanges) -> BackupStatus:
    """Return `status` with the changes; nothing is validated, as with `model_copy`."""
    return status.model_copy(update=dict(changes))


def layer_of(disk: DiskAnswer) -> LayerFields:
    """Return what the status tells of the layer of a committed disk."""
    return LayerFields(
        type=disk.type,
        parent=disk.parent or None,
        parent_change_id=disk.parent_change_id or None,
        depth=disk.depth,
        file=disk.file,
        stored_bytes=disk.stored_bytes,
        guest_bytes=disk.guest_bytes,
        changed_bytes=disk.changed_bytes,
        compaction=disk.compaction or None,
    )


def changed_disk(disk: BackupDisk, **changes: Unpack[DiskChanges]) -> BackupDisk:
    """Return `disk` with the changes."""
    return disk.model_copy(update=dict(changes))


def changed_progress(progress: BackupProgress, **changes: Unpack[ProgressChanges]) -> BackupProgress:
    """Return `progress` with the changes."""
    return progress.model_copy(update=dict(changes))
