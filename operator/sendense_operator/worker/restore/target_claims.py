"""The targets of all disks of a restore: all or none of the images get their final names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sendense_operator.chain.export_files import DiskData
from sendense_operator.chain.manifest import Manifest
from sendense_operator.restore_task import RestoreDisk, RestoreTask, target_folder
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.disk_image import DiskImage, RawImage
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.restore_wording import describe_target, mebibytes_free, mebibytes_needed
from sendense_operator.worker.restore.target_folder import TargetFolder
from sendense_operator.worker.restore.target_marker import TargetIdentity
from sendense_operator.worker.restore.target_place import TargetPlace
from sendense_operator.worker.settings import Settings

_MARGIN = 1 << 20
"""Bytes for the file system's own records, and the marker."""


@dataclass(frozen=True)
class Need:
    """Bytes that an image occupies at most; `disk`: for messages."""

    disk: RestoreDisk
    folder: TargetFolder
    length: int


class Targets:
    """The folders of the images of a restore, in the order of the task's disks. Methods block unless they are async.

    This class alone is for a claim per disk; that for files in one claim is derived from it.
    """

    def __init__(self, settings: Settings, task: RestoreTask, chunk: int) -> None:
        self.task = task
        self.folders = self._folders(settings, chunk)

    def _folders(self, settings: Settings, chunk: int) -> tuple[TargetFolder, ...]:
        return tuple(
            TargetFolder(
                TargetPlace(settings.targets / target_folder(disk.index), length=disk.virtual_size),
                disk,
                self._identity(disk.index, disk.virtual_size),
                chunk,
            )
            for disk in self.task.disks
        )

    def _identity(self, disk: int, size: int) -> TargetIdentity:
        return TargetIdentity(
            restore_uid=self.task.restore_uid, point_uid=self.task.point.backup_uid, disk=disk, size=size
        )

    def images(self, manifest: Manifest | None, sources: Sequence[DigestedDisk], runtime: Path) -> Sequence[DiskImage]:
        """Return the image of each disk; to be called once. `runtime`: folder for files of programs.

        `manifest`: of the restore point, None where only its disks are at hand. Raises ValueError if it is needed.
        """
        return [RawImage(folder) for folder in self.folders]

    def needs(self, disks: Sequence[DiskData]) -> list[Need]:
        """Return what has to fit into the claims."""
        found = zip(self.task.disks, self.folders, disks, strict=True)
        return [Need(disk, folder, data.data_bytes) for disk, folder, data in found]

    def load(self) -> None:
        """Find out where the disks are in a finished file that is open. Raises WorkerError."""

    async def seal(self, on_step: Callable[[str], None]) -> None:
        """Write what belongs to no disk, once all disks are written. Raises WorkerError."""

    async def prove(self, state: RestoreState) -> None:
        """Prove what belongs to no disk, once all disks are proven. Raises WorkerError."""

    def inspect(self) -> None:
        """Inspect every folder, and lock those that this Restore has begun; nothing is changed. Raises WorkerError.

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
        """Release all folders; what is there stays for the next attempt."""
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
            place = need.folder.place
            what = f"{place.image} at most" if place.is_shared else "its data"
            text = (
                f"{describe_target(need.disk)}: {mebibytes_needed(wanted)} are needed for {what}, but the claim's "
                f"file system has only {mebibytes_free(left)} free: use a larger claim"
            )
            raise WorkerError(Reason.TARGET_TOO_SMALL, text, need.disk.index)
        free[device] = left - wanted
