"""Detection of damaged restore points from file names, lengths and headers, and from the marks of earlier proofs.

Changed content, such as flipped bits, can't be detected here: a proof that reads the content finds it, and marks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from sendense_operator.chain import layout, qcow2
from sendense_operator.chain.digests import DIGEST_SIZE
from sendense_operator.chain.disk_file import DiskFile
from sendense_operator.chain.extents import chunk_count
from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.chain.qcow2 import HeaderError
from sendense_operator.task import FullReason

_MAX_TEXT: Final = 500


@dataclass(frozen=True)
class DamageVerdict:
    """The verdict on one restore point."""

    damage: str = ""
    """What is damaged; empty if no damage is known."""
    full_next: str = ""
    """FullReason of the first disk that no increment can depend on; empty if there is none."""


@dataclass(frozen=True)
class _Layer:
    owner: str
    """Name of the Backup."""
    disk: ManifestDisk
    marks: tuple[Unfit, ...]


@dataclass(frozen=True)
class _Flaw:
    layer: str
    text: str


class Judge:
    """Judge of the restore points of one chain. `files`: all files in its disk folders, by path."""

    def __init__(
        self,
        points: Sequence[tuple[Manifest, tuple[Unfit, ...]]],
        tombstones: Iterable[Manifest],
        files: Mapping[str, DiskFile],
    ) -> None:
        self._files = files
        self._layers = {disk.file: _Layer(old.backup.name, disk, ()) for old in tombstones for disk in old.disks}
        for manifest, marks in points:
            for disk in manifest.disks:
                own = tuple(mark for mark in marks if mark.index == disk.index)
                self._layers[disk.file] = _Layer(manifest.backup.name, disk, own)
        self._flaws: dict[str, _Flaw | None] = {}

    def judge(self, manifest: Manifest) -> DamageVerdict:
        """Return the verdict on one of the restore points."""
        texts, reason = list[str](), ""
        for disk in manifest.disks:
            flaw = self._flaw_under(disk.file)
            text = self._describe(disk, flaw) if flaw else self._flaw_of_digests(disk) or self._flaw_of_content(disk)
            if text:
                texts.append(f"disk {disk.index}: {text}")
            reason = reason or (FullReason.PARENT_UNVERIFIED if text else self._marked_reason(disk))
        return DamageVerdict("; ".join(texts)[:_MAX_TEXT], reason)

    def _marked_reason(self, disk: ManifestDisk) -> str:
        return next((mark.reason for mark in self._layers[disk.file].marks), "")

    def _describe(self, disk: ManifestDisk, flaw: _Flaw) -> str:
        owner = self._layers.get(flaw.layer)
        return flaw.text if flaw.layer == disk.file or owner is None else f"it depends on {owner.owner}: {flaw.text}"

    def _flaw_under(self, top: str) -> _Flaw | None:
        """Return the flaw of a layer, or of the first layer below it that has one; None if none has."""
        passed: list[str] = []
        at: str | None = top
        flaw = None
        while at is not None:
            if at in self._flaws:
                flaw = self._flaws[at]
                break
            text = f"{at} depends on itself" if at in passed else self._own_flaw(at)
            if text:
                flaw = self._flaws[at] = _Flaw(at, text)
                break
            passed.append(at)
            at = self._parent_of(at)
        self._flaws.update(dict.fromkeys(passed, flaw))
        return flaw

    def _parent_of(self, path: str) -> str | None:
        layer = self._layers.get(path)
        if layer is not None:
            return layer.disk.parent.file if layer.disk.parent else None
        file = self._files.get(path)
        return None if file is None or file.backing is None else str(PurePosixPath(path).with_name(file.backing))

    def _own_flaw(self, path: str) -> str:
        file, layer = self._files.get(path), self._layers.get(path)
        if file is None:
            return f"{path} is missing"
        if file.header is None:
            return f"{path}: {file.flaw}"
        if layer is None:
            return self._flaw_of_orphan(path, file)
        parent = PurePosixPath(layer.disk.parent.file) if layer.disk.parent else None
        if parent is not None and parent.parent != PurePosixPath(path).parent:
            return f"{path} is based on {parent}, which is in another folder"
        try:
            qcow2.check_header(file.header, layer.disk.virtual_size, parent.name if parent else None)
        except HeaderError as error:
            return f"{path}: {error}"
        if file.length < layer.disk.guest_bytes:
            return f"{path} is truncated: it has {file.length} bytes instead of more than {layer.disk.guest_bytes}"
        marks = (mark for mark in layer.marks if mark.is_damage and not mark.is_of_content)
        return next((f"{path}: {mark.message or mark.reason}" for mark in marks), "")

    def _flaw_of_content(self, disk: ManifestDisk) -> str:
        """Return the damage of chunks of this disk; not that of disks below, whose chunks it may have replaced."""
        marks = (mark for mark in self._layers[disk.file].marks if mark.is_of_content)
        return next((f"{disk.file}: {mark.message or mark.reason}" for mark in marks), "")

    @staticmethod
    def _flaw_of_orphan(path: str, file: DiskFile) -> str:
        if file.backing is not None and not layout.is_layer(file.backing):
            return f"{path}, which no manifest names, has the backing name {file.backing!r}"
        return ""

    def _flaw_of_digests(self, disk: ManifestDisk) -> str:
        """Return the flaw of the disk's own digest list; a restore of this disk does not need those below."""
        path = str(layout.digests_of(PurePosixPath(disk.file)))
        file = self._files.get(path)
        expected = DIGEST_SIZE * chunk_count(disk.virtual_size, disk.digest.chunk)
        if file is None:
            return f"{path} is missing"
        return "" if file.length == expected else f"{path} has {file.length} bytes instead of {expected}"
