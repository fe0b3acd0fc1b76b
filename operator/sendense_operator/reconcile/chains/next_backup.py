"""Type of the next backup of a chain, predicted by the rules that the worker applies to its repository. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupStatus
from sendense_operator.api.v1alpha1.backupchain import NextBackup
from sendense_operator.api.v1alpha1.protectedvm import VMDisk
from sendense_operator.task import BackupType, FullReason

_MESSAGES: Final = {
    FullReason.NO_PARENT: "there is no restore point to use as parent",
    FullReason.PARENT_UNVERIFIED: "the newest restore point can't be read as it was written",
    FullReason.CHANGE_ID_REFUSED: "vCenter refused the change id of the newest restore point",
}


def decide_next(
    newest: BackupStatus | None, disks: Sequence[VMDisk], *, max_depth: int, full_next: str = ""
) -> NextBackup:
    """Return the type that a Backup of type Auto would get now: Incremental only if every disk can be an increment.

    `newest`: status of the Backup of the newest restore point, None without one; `disks`: of the VM as last
    discovered, empty if unknown; `full_next`: reason why the newest restore point cannot be a parent according to the
    repository's catalogue, empty if it can.
    """
    if newest is None:
        return _full(FullReason.NO_PARENT)
    if is_damaged(newest):
        return _full(FullReason.PARENT_UNVERIFIED)
    if full_next:
        known = next((reason for reason in FullReason if reason == full_next), None)
        return _full(known) if known else NextBackup(type=BackupType.FULL, reason=full_next[:256])
    parents = {disk.key: disk for disk in newest.disks}
    wanted = [(disk.index, disk.key, disk.virtual_size) for disk in disks] or [
        (disk.index, disk.key, disk.virtual_size) for disk in newest.disks
    ]
    for index, key, virtual_size in wanted:
        full = _full_for_disk(index, virtual_size, parents.get(key), max_depth)
        if full is not None:
            return full
    return NextBackup(type=BackupType.INCREMENTAL)


def is_damaged(status: BackupStatus) -> bool:
    """Return whether the restore point, or one that it depends on, cannot be read as it was written."""
    return conditions.is_true(conditions.dicts_of(status), conditions.DAMAGED)


def _full_for_disk(index: int, virtual_size: int, parent: BackupDisk | None, max_depth: int) -> NextBackup | None:
    """Return why a disk can only be a full; None if it can be an increment of `parent`, the newest one's disk."""
    if parent is None:
        return _full(FullReason.NEW_DISK, f"disk {index} is new")
    if virtual_size and parent.virtual_size != virtual_size:
        return _full(FullReason.DISK_RESIZED, f"disk {index} has another size")
    if (parent.depth or 1) >= max_depth:
        text = f"disk {index} has {parent.depth or 1} layers, the repository allows {max_depth}"
        return _full(FullReason.CHAIN_TOO_LONG, text)
    return None


def _full(reason: FullReason, message: str = "") -> NextBackup:
    return NextBackup(type=BackupType.FULL, reason=reason.value, message=message or _MESSAGES.get(reason, ""))
