"""An OVA: a tar archive with the descriptor of a VM, the checksums, and its disks, written in one pass in its place.

The descriptor comes first, as every reader needs it, but has the lengths of the disks; the checksums come second. Room
of a fixed length is left for both, and filled at the end: until then the file does not begin like an archive.
"""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from sendense_operator.chain.export_files import disk_file, stem
from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.ovf import ArchivedDisk, Machine, descriptor
from sendense_operator.restore_task import FileFormat, FileHardware
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.damaged_ranges import bytes_of
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.restore_wording import describe_target
from sendense_operator.worker.restore.stream_image import StreamImage, append_pieces
from sendense_operator.worker.restore.target_errors import target_failures
from sendense_operator.worker.restore.target_folder import TargetFolder

_BLOCK: Final = tarfile.BLOCKSIZE
_LONGEST: Final = 1 << 62
"""Longer than any disk: its digits are as many as a length in the descriptor may have."""
_MOST_USTAR: Final = 0o77777777777
"""Longest member that the standard format has room for; the GNU format, which readers know, too, is for longer ones."""
_PIECE: Final = 4 << 20


@dataclass
class _Member:
    """One disk in the archive: where its image lies. It is the StreamPlace of that image."""

    archive: OvaArchive
    index: int
    name: str
    offset: int = 0
    length: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def part(self) -> tuple[int, int]:
        """See StreamPlace."""
        return self.offset, self.length

    def open(self) -> None:
        """See StreamPlace."""
        self.offset, self.length, self._hash = self.archive.end + _BLOCK, 0, hashlib.sha256()

    def append(self, data: bytes) -> None:
        """See StreamPlace."""
        append_pieces(self.archive.folder, self.offset + self.length, data)
        self._hash.update(data)
        self.length += len(data)

    def close(self) -> None:
        """See StreamPlace."""
        self.archive.end = self.offset + _up(self.length)

    @property
    def checksum(self) -> str:
        """SHA-256 of what was appended, in hex."""
        return self._hash.hexdigest()


class OvaArchive:
    """The archive of one restore point. Coroutines raise WorkerError."""

    def __init__(
        self,
        folder: TargetFolder,
        manifest: Manifest,
        wanted: FileHardware,
        sources: Sequence[DigestedDisk],
        choice: ModeChoice,
        runtime: Path,
    ) -> None:
        vm, backup = manifest.vm, manifest.backup.name
        self.folder, self._sources, self._disk = folder, sources, sources[0].disk
        self._machine = Machine(vm.name, vm.vmware_name, backup, vm.hardware, wanted)
        self._modified = int(manifest.finished.timestamp())
        base = stem(vm.name, backup)
        self._descriptor_name, self._manifest_name = f"{base}.ovf", f"{base}.mf"
        self._members = [
            _Member(self, source.disk.index, disk_file(vm.name, backup, source.disk.index, FileFormat.OVA))
            for source in sources
        ]
        self._descriptor_length = len(self._descriptor([_LONGEST] * len(sources)))
        self._manifest_length = len(self._manifest(["0" * 64] * (1 + len(sources))))
        self.end = self._first_disk
        """Position behind the last disk that is complete."""
        self.images = [StreamImage(folder, member.name, member, choice, runtime) for member in self._members]

    def load(self) -> None:
        """Find the disks of a finished archive. Raises WorkerError TargetNotEmpty if it is another one."""
        with target_failures(self._disk, f"reading {self.folder.place.image}"):
            whole = self.folder.file.stat().st_size
            for member in self._members:
                member.offset = self.end + _BLOCK
                header = self.folder.file.peek(self.end, _BLOCK)
                try:
                    member.length = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
                    is_ours = header == self._header(member.name, member.length)
                except (tarfile.HeaderError, ValueError):
                    is_ours = False
                if not is_ours or member.length > whole:
                    raise self.folder.disown()
                self.end = member.offset + _up(member.length)
            if whole != self._length:
                raise self.folder.disown()

    async def seal(self) -> None:
        """Write what makes the file an archive, once all disks are in it."""
        await asyncio.to_thread(self._seal)

    async def prove(self) -> None:
        """Read everything back, and compare the checksums with those in the archive, and the rest with what it must be.

        Raises WorkerError TargetFaulty; for an archive that was finished before TargetNotEmpty.
        """
        with target_failures(self._disk, "reading the archive back"):
            await asyncio.to_thread(self.folder.file.settle)
            sums = [await self._checksum(member) for member in self._members]
            found = await asyncio.to_thread(self.folder.file.peek, 0, self._first_disk)
            rest = await asyncio.to_thread(self.folder.file.peek, self.end, self._length - self.end + 1)
        if found == self._front(sums) and rest == bytes(self._length - self.end):
            return
        if self.folder.is_finished:
            raise self.folder.disown()
        text = f"{describe_target(self._disk)}: the archive does not read as it was written: check the storage"
        raise WorkerError(Reason.TARGET_FAULTY, text)

    @property
    def _first_disk(self) -> int:
        return 2 * _BLOCK + _up(self._descriptor_length) + _up(self._manifest_length)

    @property
    def _length(self) -> int:
        """Length of the whole archive, which ends with two blocks of zeroes or more."""
        whole = self.end + 2 * _BLOCK
        return -(-whole // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def _seal(self) -> None:
        with target_failures(self._disk, "writing the descriptor"):
            for member in self._members:
                self._write(member.offset - _BLOCK, self._header(member.name, member.length))
            self._write(self.end, bytes(self._length - self.end))
            self._write(0, self._front([member.checksum for member in self._members]))

    def _write(self, at: int, data: bytes) -> None:
        self.folder.file.write(at, data, blank=False)

    def _front(self, sums: Sequence[str]) -> bytes:
        """Return everything before the first disk's header; `sums`: of the disks."""
        text = self._descriptor([member.length for member in self._members]).ljust(self._descriptor_length)
        listed = self._manifest([hashlib.sha256(text).hexdigest(), *sums])
        parts = ((self._descriptor_name, text), (self._manifest_name, listed))
        return b"".join(self._header(name, len(data)) + data.ljust(_up(len(data)), b"\0") for name, data in parts)

    def _descriptor(self, lengths: Sequence[int]) -> bytes:
        disks = [
            ArchivedDisk(
                index=member.index,
                file=member.name,
                file_bytes=length,
                virtual_size=source.disk.virtual_size,
                data_bytes=bytes_of(source.content, source.chunks),
            )
            for member, source, length in zip(self._members, self._sources, lengths, strict=True)
        ]
        return descriptor(self._machine, disks)

    def _manifest(self, sums: Sequence[str]) -> bytes:
        names = [self._descriptor_name, *(member.name for member in self._members)]
        return "".join(f"SHA256({name})= {value}\n" for name, value in zip(names, sums, strict=True)).encode("ascii")

    def _header(self, name: str, length: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = length, self._modified, 0o644
        kind: Literal[0, 1] = tarfile.USTAR_FORMAT if length <= _MOST_USTAR else tarfile.GNU_FORMAT
        return info.tobuf(kind, "ascii", "strict")

    async def _checksum(self, member: _Member) -> str:
        found = hashlib.sha256()

        def read(at: int, length: int) -> None:
            data = self.folder.file.read(at, length)
            found.update(data)

        for at in range(0, member.length, _PIECE):
            await asyncio.to_thread(read, member.offset + at, min(_PIECE, member.length - at))
        return found.hexdigest()


def _up(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK
