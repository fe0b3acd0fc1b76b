"""The type of what ran, derived from its disks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.answer import DiskAnswer
from sendense_operator.api.v1alpha1.backup import BackupDisk
from sendense_operator.task import BackupType


def backup_type_of(disks: Sequence[BackupDisk] | Sequence[DiskAnswer]) -> BackupType:
    """Return what ran: Incremental when every disk is an increment."""
    increments = disks and all(disk.type is BackupType.INCREMENTAL for disk in disks)
    return BackupType.INCREMENTAL if increments else BackupType.FULL
