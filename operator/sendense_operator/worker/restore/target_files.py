"""Files in one claim as the targets of a restore: one per disk, or an archive with all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sendense_operator.chain.export_files import DiskData, archive_file, disk_file, most_bytes
from sendense_operator.chain.manifest import Manifest
from sendense_operator.restore_task import FILES, FileFormat, FileTask, RestoreTask
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.disk_image import DiskImage, RawImage
from sendense_operator.worker.restore.ova_archive import OvaArchive
from sendense_operator.worker.restore.qcow2_image import Qcow2Image
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.stream_image import StreamImage, WholeFile
from sendense_operator.worker.restore.target_claims import Need, Targets
from sendense_operator.worker.restore.target_folder import TargetFolder
from sendense_operator.worker.restore.target_place import TargetPlace
from sendense_operator.worker.settings import Settings


def open_targets(settings: Settings, task: RestoreTask, chunk: int) -> Targets:
    """Return the targets of a task; nothing is opened yet. `chunk`: bytes."""
    if task.file is None:
        return Targets(settings, task, chunk)
    if task.file.format is FileFormat.OVA:
        return _Archive(settings, task, chunk, task.file)
    return _Files(settings, task, chunk, task.file)


class _Files(Targets):
    """A file per disk."""

    def __init__(self, settings: Settings, task: RestoreTask, chunk: int, file: FileTask) -> None:
        self._file, self._choice = file, ModeChoice()
        super().__init__(settings, task, chunk)

    def _folders(self, settings: Settings, chunk: int) -> tuple[TargetFolder, ...]:
        return tuple(
            TargetFolder(
                self._place(settings, self._name_of(disk.index), disk.virtual_size),
                disk,
                self._identity(disk.index, disk.virtual_size),
                chunk,
            )
            for disk in self.task.disks
        )

    def _place(self, settings: Settings, name: str, size: int) -> TargetPlace:
        length = size if self._file.format is FileFormat.RAW else None
        return TargetPlace.of_file(settings.targets / FILES, self._file.folder, name, length)

    def _name_of(self, index: int) -> str:
        return disk_file(self.task.vm, self.task.point.backup, index, self._file.format)

    def images(self, manifest: Manifest | None, sources: Sequence[DigestedDisk], runtime: Path) -> Sequence[DiskImage]:
        """See Targets."""
        return [self._image(folder, source, runtime) for folder, source in zip(self.folders, sources, strict=True)]

    def _image(self, folder: TargetFolder, source: DigestedDisk, runtime: Path) -> DiskImage:
        match self._file.format:
            case FileFormat.RAW:
                return RawImage(folder)
            case FileFormat.QCOW2:
                return Qcow2Image(folder, self._choice, runtime)
            case _:
                name = self._name_of(source.disk.index)
                return StreamImage(folder, name, WholeFile(folder), self._choice, runtime)

    def needs(self, disks: Sequence[DiskData]) -> list[Need]:
        """See Targets."""
        found = zip(self.task.disks, self.folders, disks, strict=True)
        return [Need(disk, folder, most_bytes([data], self._file.format)) for disk, folder, data in found]


class _Archive(Targets):
    """One archive with all disks."""

    def __init__(self, settings: Settings, task: RestoreTask, chunk: int, file: FileTask) -> None:
        self._file = file
        self._archive: OvaArchive | None = None
        super().__init__(settings, task, chunk)

    def _folders(self, settings: Settings, chunk: int) -> tuple[TargetFolder, ...]:
        disks, name = self.task.disks, archive_file(self.task.vm, self.task.point.backup)
        place = TargetPlace.of_file(settings.targets / FILES, self._file.folder, name, None)
        identity = self._identity(disks[0].index, sum(disk.virtual_size for disk in disks))
        return (TargetFolder(place, disks[0], identity, chunk),)

    def images(self, manifest: Manifest | None, sources: Sequence[DigestedDisk], runtime: Path) -> Sequence[DiskImage]:
        """See Targets."""
        if manifest is None:
            raise ValueError("an archive describes the VM, of which only the manifest tells")
        self._archive = OvaArchive(self.folders[0], manifest, self._file.hardware, sources, ModeChoice(), runtime)
        return self._archive.images

    @property
    def archive(self) -> OvaArchive:
        """The archive, once `images` was called."""
        if self._archive is None:
            raise RuntimeError("the archive has no disks yet")
        return self._archive

    def needs(self, disks: Sequence[DiskData]) -> list[Need]:
        """See Targets."""
        return [Need(self.task.disks[0], self.folders[0], most_bytes(disks, FileFormat.OVA))]

    def load(self) -> None:
        """See Targets."""
        if self.folders[0].is_finished:
            self.archive.load()

    async def seal(self, on_step: Callable[[str], None]) -> None:
        """See Targets."""
        if not self.folders[0].is_finished:
            on_step("seal")
            await self.archive.seal()

    async def prove(self, state: RestoreState) -> None:
        """See Targets."""
        state.say(f"comparing the checksums in {self.folders[0].place.image}")
        await self.archive.prove()
