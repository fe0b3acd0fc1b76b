"""A Backup's status follows its manifest: it tells of the layers, after they were merged, and of the VM's hardware."""

from __future__ import annotations

from sendense_operator.answer import DiskAnswer
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupStatus, Phase
from sendense_operator.api.v1alpha1.known_hardware import known_hardware
from sendense_operator.catalogue_format import PointRecord
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import human_bytes
from sendense_operator.reconcile.backups.status_changes import BackupChanges, changed_disk, changed_status, layer_of
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting


def with_layers_of(status: BackupStatus, point: PointRecord) -> BackupStatus:
    """Return the status with layers and hardware of the manifest.

    What was copied, and how, stays as it was reported. Pure.
    """
    reported = {disk.key: disk for disk in point.disks}
    disks = [_followed(disk, reported.get(disk.key)) for disk in status.disks]
    hardware = status.hardware or known_hardware(point.hardware)
    if disks == status.disks and hardware == status.hardware:
        return status
    stored_bytes = sum(disk.stored_bytes or 0 for disk in disks)
    changes = BackupChanges(
        disks=disks,
        stored_bytes=stored_bytes,
        stored=human_bytes(stored_bytes),
        guest_bytes=sum(disk.guest_bytes or 0 for disk in disks),
        hardware=hardware,
    )
    return changed_status(status, changes)


def _followed(disk: BackupDisk, reported: DiskAnswer | None) -> BackupDisk:
    if reported is None:
        return disk
    return changed_disk(disk, **layer_of(reported))


async def follow_manifest(ctx: ReconcileContext, obj: Obj, point: PointRecord) -> bool:
    """Write the status of a completed Backup with the layers of its restore point; whether anything was written.

    Raises ClusterError, ConflictError too when the object changed since it was read.
    """
    status = BackupStatus.model_validate(obj.get("status") or {})
    if status.phase is not Phase.COMPLETED or is_deleting(obj):
        return False
    after = with_layers_of(status, point)
    return after != status and await write_status(ctx.cluster, BACKUP, obj, after, unchanged=True)
