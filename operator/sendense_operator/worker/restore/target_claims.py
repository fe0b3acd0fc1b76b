"""The claims of all disks of a restore: all or none of them gets a finished image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sendense_operator.restore_task import RestoreDisk, RestoreTask, target_folder
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.restore_wording import describe_target, mebibytes_free, mebibytes_needed
from sendense_operator.worker.restore.target_folder import TargetFolder
from sendense_operator.worker.restore.target_marker import TargetIdentity
from sendense_operator.worker.settings import Settings

_MARGIN = 1 << 20
"""Bytes for the file system's own records, and the marker."""


@dataclass(frozen=True)
class Need:
    """Bytes that the image of a disk occupies in a claim."""

    disk: RestoreDisk
    folder: TargetFolder
    length: int


class Claims:
    """The folders of all disks of a restore, in the order of the task. All methods block."""

    def __init__(self, settings: Settings, task: RestoreTask, chunk: int) -> None:
        self.folders = tuple(
            TargetFolder(
                settings.targets / target_folder(disk.index),
                disk,
                TargetIdentity(
                    restore_uid=task.restore_uid,
                    point_uid=task.point.backup_uid,
                    disk=disk.index,
                    size=disk.virtual_size,
                ),
                chunk,
            )
            for disk in task.disks
        )

    def inspect(self) -> None:
        """Inspect every claim, and lock those that this Restore has begun; nothing is changed. Raises WorkerError.

        All are inspected, also after an error, so that `discard` removes what is there; the first error is raised.
        """
        first: WorkerError | None = None
        for folder in self.folders:
            try:
                folder.inspect()
            except WorkerError as error:
                first = first or error
        if first is not None:
            raise first

    def publish(self, on_step: Callable[[str], None]) -> None:
        """Give all images their final names. Raises WorkerError before the last one has it."""
        for folder in self.folders:
            on_step("finish")
            folder.finish()
        for folder in self.folders:
            on_step("publish")
            folder.publish()
        for folder in self.folders:
            on_step("conclude")
            folder.conclude()

    def discard(self) -> None:
        """Remove everything that this Restore made."""
        for folder in self.folders:
            folder.discard()

    def close(self) -> None:
        """Release all claims; what is there stays for the next attempt."""
        for folder in self.folders:
            folder.close()


def check_space(needs: Sequence[Need]) -> None:
    """Check that the images fit into the claims, of which several may share a file system. Raises WorkerError."""
    free = dict[int, int]()
    for need in needs:
        if need.folder.is_finished:
            continue
        device, available = need.folder.free()
        left = free.setdefault(device, available)
        wanted = max(0, need.length - need.folder.allocated) + _MARGIN
        if wanted > left:
            text = (
                f"{describe_target(need.disk)}: {mebibytes_needed(wanted)} are needed for its data, but the claim's "
                f"file system has only {mebibytes_free(left)} free: use a larger claim"
            )
            raise WorkerError(Reason.TARGET_TOO_SMALL, text, need.disk.index)
        free[device] = left - wanted
