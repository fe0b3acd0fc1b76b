"""A running Backup's progress, from what its worker reports.

How much an increment will send is known to nobody beforehand. So percent is a lower bound for it: a disk counts by the
bytes that came, and whole as soon as it is complete. It never goes back; of an increment it moves in steps.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupProgress
from sendense_operator.formatting import (
    human_bytes,
    human_count,
    human_duration,
    human_rate,
    whole_seconds,
)
from sendense_operator.reconcile.backups.status_changes import changed_disk, changed_progress, layer_of
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.task import BackupType, DiskProgress, Progress, Stage

_FARTHEST_S: Final = 2_592_000
"""The most that spec.activeDeadlineSeconds may be: what would end later never does."""

STAGE_MESSAGES: Final = {
    Stage.STARTING: "the worker gets ready",
    Stage.CHECKING_PARENT: "verifying the newest restore point, the parent of the increment",
    Stage.PREFLIGHT: "checking with the appliance and vCenter whether the backup can run",
    Stage.WAITING_FOR_VMA: "the appliance takes the snapshot",
    Stage.COPYING: "the appliance writes the disks",
    Stage.VERIFYING: "the layers are checked, compacted and digested",
    Stage.COMMITTING: "the layers are committed",
    Stage.RESTORING: "",
    Stage.SERVING: "",
    Stage.CONSOLIDATING: "",
    Stage.CANCELLING: "the appliance's job is being cancelled",
    Stage.DONE: "",
}
"""For a person, where the worker says nothing itself."""


def percent_of(done: int, total: int, *, finished: bool) -> int:
    """Return whole percents, rounded down; 100 only when `finished`."""
    if finished:
        return 100
    return min(99, done * 100 // total) if total > 0 else 0


def merge_disks(old: list[BackupDisk], reported: Progress, *, whole: bool) -> list[BackupDisk]:
    """Return the disks with what the worker reports; no number falls. A new attempt starts with `old` set back.

    `whole`: as of `merge_progress`.
    """
    before = {disk.index: disk for disk in old}
    return [_disk(before.get(disk.index), disk, whole) for disk in reported.disks]


def _disk(old: BackupDisk | None, now: DiskProgress, whole: bool) -> BackupDisk:
    eta = sensible_eta(now.eta_seconds) if whole else None
    received_bytes = max(now.received_bytes, old.received_bytes if old else 0)
    percent = percent_of(min(received_bytes, now.virtual_size), now.virtual_size, finished=now.completed)
    return BackupDisk(
        index=now.index,
        key=old.key if old else 0,
        virtual_size=now.virtual_size,
        received_bytes=received_bytes,
        percent=max(percent, old.percent if old else 0),
        rate_bytes_per_second=int(now.rate) or None,
        rate=human_rate(now.rate) or None,
        eta_seconds=eta,
        eta=human_duration(eta) if eta is not None else None,
    )


def merge_progress(
    old: BackupProgress | None, disks: list[BackupDisk], reported: Progress, *, whole: bool, now: datetime
) -> BackupProgress:
    """Return the total of `disks`. `last_update_time` moves only when something else does.

    `whole`: all disks are copied whole, so that its end can be estimated.
    """
    total = sum(disk.virtual_size for disk in disks)
    received_bytes = max(sum(disk.received_bytes for disk in disks), old.received_bytes if old else 0)
    # A disk that is complete counts whole, even if holes of it were never sent.
    done = sum(
        disk.virtual_size if disk.percent == 100 else min(disk.received_bytes, disk.virtual_size) for disk in disks
    )
    percent = max(percent_of(done, total, finished=False), old.percent if old else 0)
    eta = sensible_eta(reported.eta_seconds) if whole else None
    result = BackupProgress(
        received_bytes=received_bytes,
        total_bytes=total,
        percent=percent,
        # How much an increment sends in all is not known: its percents are only a lower bound.
        summary=f"{percent}%" if whole else f"{human_bytes(received_bytes)}, {percent}% or more",
        rate_bytes_per_second=int(reported.rate),
        rate=human_rate(reported.rate),
        eta_seconds=eta,
        eta=human_duration(eta) if eta is not None else "",
        last_update_time=old.last_update_time if old else None,
    )
    if old is None or result != old:
        result.last_update_time = whole_seconds(now)
    return result


def sensible_eta(eta: int | None) -> int | None:
    """Seconds; None for what is no estimate: bytes that trickle in would come to centuries."""
    return eta if eta is not None and 0 <= eta <= _FARTHEST_S else None


def final_disks(answer: Answer) -> list[BackupDisk]:
    """Return the disks of a committed backup."""
    return [
        BackupDisk(
            index=disk.index,
            key=disk.key,
            virtual_size=disk.virtual_size,
            received_bytes=disk.received_bytes,
            percent=100,
            reason=disk.reason or None,
            **layer_of(disk),
            change_id=disk.change_id or None,
        )
        for disk in answer.disks
    ]


def describe_result(answer: Answer, how: str = "") -> str:
    """Describe a committed backup in one line: what ran, how it was committed, its sizes."""
    count = len(answer.disks)
    increments = sum(disk.type is BackupType.INCREMENTAL for disk in answer.disks)
    mixed = 0 < increments < count
    what = f"{increments} of {count} disks {BackupType.INCREMENTAL}" if mixed else backup_type_of(answer.disks).value
    size = human_bytes(sum(disk.virtual_size for disk in answer.disks))
    how = how or ("committed by an earlier attempt" if answer.adopted else "committed")
    sent = human_bytes(sum(disk.received_bytes for disk in answer.disks))
    stored = human_bytes(sum(disk.stored_bytes for disk in answer.disks))
    return f"{what}: {human_count(count, 'disk')}, {size}, {how}; {sent} sent, {stored} stored"


def average_rate(received_bytes: int, started: datetime | None, ended: datetime) -> int:
    """Return the bytes per second from the start to the end; 0 when that is not known."""
    seconds = (ended - started).total_seconds() if started is not None else 0.0
    return int(received_bytes / seconds) if seconds > 0 else 0


def final_progress(answer: Answer, started: datetime | None, now: datetime) -> BackupProgress:
    """Return the progress of a committed backup, with its average rate since `started`."""
    received_bytes = sum(disk.received_bytes for disk in answer.disks)
    rate = average_rate(received_bytes, started, answer.finished or now)
    return BackupProgress(
        received_bytes=received_bytes,
        rate_bytes_per_second=rate,
        rate=human_rate(rate),
        total_bytes=sum(disk.virtual_size for disk in answer.disks),
        percent=100,
        summary="100%",
        last_update_time=whole_seconds(now),
    )


def stopped_disks(old: list[BackupDisk]) -> list[BackupDisk]:
    """Return the disks of a backup that ended without a result: how far each came, and no longer a rate."""
    return [changed_disk(disk, rate_bytes_per_second=None, rate=None, eta_seconds=None, eta=None) for disk in old]


def stopped_progress(old: BackupProgress | None, started: datetime | None, now: datetime) -> BackupProgress | None:
    """Return the progress of a backup that ended without a result, with its average rate since `started`."""
    if old is None:
        return None
    rate = average_rate(old.received_bytes, started, now)
    return changed_progress(old, rate_bytes_per_second=rate, rate=human_rate(rate), eta_seconds=None, eta="")
