"""A running Restore's progress, from what its worker reports. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus, RestoreProgress
from sendense_operator.formatting import human_duration, human_rate, whole_seconds
from sendense_operator.reconcile.backups.progress import percent_of, sensible_eta
from sendense_operator.task import DiskProgress, Progress, Stage


def message_of(report: Progress, *, verify_only: bool) -> str:
    """Return the message of the Ready condition while the worker runs."""
    if report.message:
        return report.message
    match report.stage:
        case Stage.RESTORING:
            return "the restore point is being read" if verify_only else "the disks are being written"
        case Stage.VERIFYING:
            return "the targets are being read back and compared"
        case Stage.CANCELLING:
            return "the worker removes its unfinished images"
        case _:
            return "the worker gets ready"


def merge_disks(old: Sequence[RestoredDiskStatus], report: Progress) -> list[RestoredDiskStatus]:
    """Return the disks with what the worker reports; no number falls, and what the worker does not know stays."""
    reported = {disk.index: disk for disk in report.disks}
    return [_merge_disk(disk, reported.get(disk.index)) for disk in old]


def _merge_disk(old: RestoredDiskStatus, now: DiskProgress | None) -> RestoredDiskStatus:
    disk = old.model_copy(deep=True)
    if now is None:
        return disk
    disk.processed_bytes = max(old.processed_bytes, min(now.received_bytes, old.virtual_size))
    disk.percent = max(old.percent, percent_of(disk.processed_bytes, old.virtual_size, finished=now.completed))
    eta = sensible_eta(now.eta_seconds)
    disk.rate = human_rate(now.rate) or None
    disk.eta = human_duration(eta) if eta is not None else None
    return disk


def merge_progress(
    old: RestoreProgress | None, disks: Sequence[RestoredDiskStatus], report: Progress, now: datetime
) -> RestoreProgress:
    """Return the total of `disks`. `last_update_time` moves only when something else does."""
    total = sum(disk.virtual_size for disk in disks)
    done = max(sum(disk.processed_bytes for disk in disks), old.processed_bytes if old is not None else 0)
    percent = max(percent_of(done, total, finished=False), old.percent if old is not None else 0)
    eta = sensible_eta(report.eta_seconds)
    result = RestoreProgress(
        processed_bytes=done,
        total_bytes=total,
        percent=percent,
        summary=f"{percent}%",
        rate_bytes_per_second=int(report.rate),
        rate=human_rate(report.rate),
        eta_seconds=eta,
        eta=human_duration(eta) if eta is not None else "",
        last_update_time=old.last_update_time if old is not None else None,
    )
    if result != old:
        result.last_update_time = whole_seconds(now)
    return result
