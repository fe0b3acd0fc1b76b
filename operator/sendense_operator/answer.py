"""The worker's answer to the controller: the termination message of its container.

It has at most 4096 bytes, a limit of the kubelet, and contains no credentials.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field

from sendense_operator import compact_encoding
from sendense_operator.task import MAX_DISKS, MAX_VERIFIED_POINTS, BackupType, Bytes, Wire
from sendense_operator.vm_hardware import Hardware

TERMINATION_MESSAGE_LIMIT: Final = 4096
_COMPRESSED: Final = "z:"
_NUMBERS: Final = "n:"
_UNPACKED_LIMIT: Final = 1 << 18
"""Largest decompressed answer in bytes; those of workers have less than 50 KiB."""
_TEXT_KEPT: Final = 512
"""Characters of a message that are kept in preference to change IDs."""


class DiskAnswer(Wire):
    """One committed disk."""

    index: int
    key: int
    type: BackupType
    file: str
    """Path of the layer below the repository's root."""
    virtual_size: Bytes
    stored_bytes: Bytes = Field(alias="stored")
    """Bytes that the layer's file occupies."""
    guest_bytes: Bytes
    """Bytes of guest data in the layer, without zeroes and holes."""
    received_bytes: Bytes = Field(alias="transferred")
    """Bytes received from the appliance."""
    change_id: str = ""
    """Change ID of the disk; empty if it did not fit into the message, but then the manifest has it."""
    reason: str = ""
    """FullReason, if an increment was requested and a full was made."""
    parent: str = ""
    """For an increment: name of the Backup that it depends on."""
    parent_change_id: str = ""
    """For an increment: change ID of the parent; may be left out as `change_id` is."""
    depth: Annotated[int, Field(ge=1)] = 1
    """Number of layers that a restore of this disk reads, this one included."""
    changed_bytes: Bytes | None = Field(default=None, alias="changed")
    """For a compacted increment: bytes that differ from the parent, zeroes included."""
    compaction: str = ""
    """For an increment: CompactionResult."""


class Capacity(Wire):
    """Capacity of the file system that holds the repository, in bytes."""

    total: Bytes
    free: Bytes
    free_files: int | None = None
    """Number of files that can still be created (inodes); None if the file system has no such limit."""


MOST_DAMAGED_RANGES: Final = 4
"""Most damaged ranges per restored disk in an answer; the worker's log has all."""


class DamagedRange(Wire):
    """Part of a disk that was restored as zeroes, because the restore point is damaged there."""

    offset: Bytes
    """First byte of the disk."""
    length: Bytes


class RestoredDisk(Wire):
    """One restored or verified disk: its content equals the digests, except in the damaged ranges."""

    index: int
    """Disk index."""
    data_bytes: Bytes = Field(default=0, alias="data")
    """Bytes of chunks that are not known to be zeroes."""
    written_bytes: Bytes = Field(default=0, alias="written")
    """Bytes of content that this attempt wrote; an earlier attempt may have written the rest."""
    damaged_bytes: Bytes = Field(default=0, alias="damagedTotal")
    """Total length of all damaged ranges."""
    damaged: Annotated[tuple[DamagedRange, ...], Field(max_length=MOST_DAMAGED_RANGES)] = ()
    """The first damaged ranges."""


class Consolidated(Wire):
    """What a consolidation did. Sizes in bytes."""

    merges: Bytes = 0
    """Number of layers that were written, each of which replaced a layer and all layers merged into it."""
    removed_layers: Bytes = Field(default=0, alias="removed")
    """By how many layers the disks have become shallower, in total."""
    written_bytes: Bytes = Field(default=0, alias="written")
    freed_bytes: Bytes = Field(default=0, alias="freed")
    """Bytes that the chain occupies less than before."""
    depth: Bytes = 0
    """Layers of the deepest disk of the newest restore point; 0 if there is none."""
    left: str = ""
    """ConsolidationObstacle: why layers that should be merged were not; empty if there are none."""
    message: str = ""
    """Explanation of `left`, with names or numbers."""


class ImmutableBit(StrEnum):
    """Whether a pod can set the file system's immutable bit on files of immutable restore points."""

    USED = "Used"
    NOT_PERMITTED = "NotPermitted"
    """The pod lacks the capability CAP_LINUX_IMMUTABLE."""
    NOT_SUPPORTED = "NotSupported"
    """The file system has no such bit."""


class CatalogueSeal(Wire):
    """Number and digest of the records of a catalogue, against which a reader checks them."""

    records: Bytes
    """Number of records."""
    digest: str
    """blake3 of the records' JSON lines, in hex."""


class PointResult(StrEnum):
    """What verification found of one restore point: one letter, so that the results of a whole task fit."""

    VERIFIED = "v"
    DAMAGED = "d"
    """It does not read as it was written; a mark beside its manifest says so, unless the chain's lock stayed held."""
    GONE = "g"
    """It was removed meanwhile, or is not in the repository."""
    FAILED = "f"
    """It could not be verified, which says nothing about it: the storage failed, for example."""
    OPEN = "o"
    """The attempt ended before it came to this one."""


_TYPES: Final = tuple(BackupType)
_WIDTHS: Final = {
    "index": 1, "key": 4, "depth": 1, "type": 1, "virtual_size": 6,
    "stored_bytes": 6, "guest_bytes": 6, "received_bytes": 6,
}  # fmt: skip
"""Bytes per number of a disk: 31 in all, so that those of 64 disks always fit."""


class Answer(Wire):
    """The termination message of a worker."""

    outcome: Literal["Completed", "Failed", "Cancelled"]
    reason: str = ""
    """Reason in CamelCase, which becomes the condition's reason."""
    message: str = ""
    """What happened and what to check, for the condition's message."""
    job_id: str = ""
    repository_id: str = ""
    manifest: str = ""
    """Path of the manifest below the repository's root."""
    retain_until: AwareDatetime | None = None
    """Until when the restore point is immutable, as its manifest says."""
    disks: Annotated[tuple[DiskAnswer, ...], Field(max_length=MAX_DISKS)] = ()
    hardware: Hardware | None = None
    """For a committed restore point: the VM's hardware, as `Hardware.shown` has it. None: not known, or it did not fit
    into the message; then the next catalogue has it."""
    capacity: Capacity | None = None
    started: datetime | None = None
    finished: datetime | None = None
    adopted: bool = False
    """Whether an earlier attempt had already committed the restore point."""
    swept: int = 0
    """Number of leftover files that were removed."""
    catalogue: CatalogueSeal | None = None
    """For maintenance that removed or scanned: seal of the catalogue in the log."""
    immutable_bit: str = ""
    """For maintenance: ImmutableBit; empty if restore points are not immutable."""
    left: str = ""
    """What an unsuccessful attempt left on the appliance and in vCenter, for a message to the user."""
    results: Annotated[str, Field(max_length=MAX_VERIFIED_POINTS, pattern=r"^[vdgfo]*$")] = ""
    """For verification: a PointResult per restore point of the task, in its order."""
    read_bytes: Bytes = 0
    """For verification: bytes of content that were read."""
    restored: Annotated[tuple[RestoredDisk, ...], Field(max_length=MAX_DISKS)] = ()
    """For a completed restore: its disks, in the order of the task."""
    consolidated: Consolidated | None = None
    """For a consolidation: what was done, also by one that failed or was cancelled."""
    stuck_client: bool = False
    """Whether the VMA's client of this job hangs; it does so until the VMA is restarted."""

    def to_message(self) -> str:
        """Return the answer as a termination message of at most TERMINATION_MESSAGE_LIMIT bytes.

        It is compressed if necessary. If it still does not fit, parts are left out in this order: the hardware, the end
        of a long message, the change IDs (from about 40 disks on; the manifest has them), the damaged ranges of
        restored disks, the rest of the message, the names of parents and files. The rest always fits: a fixed number of
        bytes per disk, and one path. Raises ValueError for more than MAX_DISKS disks, or for a path that is longer than
        the layout of a repository allows.
        """
        text = self.model_dump_json(by_alias=True, exclude_defaults=True)
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
            return text
        packed = _COMPRESSED + compact_encoding.to_text(self._by_columns().encode())
        if len(packed) <= TERMINATION_MESSAGE_LIMIT:
            return packed
        if self.hardware is not None:
            return self.model_copy(update={"hardware": None}).to_message()
        for field in ("parent_change_id", "change_id"):
            if len(self.message) <= _TEXT_KEPT and any(getattr(disk, field) for disk in self.disks):
                disks = tuple(disk.model_copy(update={field: ""}) for disk in self.disks)
                return self.model_copy(update={"disks": disks}).to_message()
        if any(disk.damaged for disk in self.restored):
            restored = tuple(disk.model_copy(update={"damaged": ()}) for disk in self.restored)
            return self.model_copy(update={"restored": restored}).to_message()
        if self.message:
            return self.model_copy(update={"message": self.message[: len(self.message) // 2]}).to_message()
        return self._by_numbers(("changed_bytes", "compaction", "reason", "parent", "file"))

    def _by_numbers(self, texts: tuple[str, ...]) -> str:
        """Return a message with a fixed number of bytes per disk, and as many of the fields `texts` as fit.

        The first of `texts` are left out first.
        """
        if len(self.disks) > MAX_DISKS:
            raise ValueError(f"the answer has {len(self.disks)} disks, but at most {MAX_DISKS} fit")
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        whole["disks"] = {name: [getattr(disk, name) for disk in self.disks] for name in texts}
        head = json.dumps(whole, separators=(",", ":")).encode()
        rows = [{name: getattr(disk, name) for name in _WIDTHS} for disk in self.disks]
        numbers = compact_encoding.pack_numbers([row | {"type": _TYPES.index(row["type"])} for row in rows], _WIDTHS)
        packed = _NUMBERS + compact_encoding.to_text(head + b"\n" + numbers)
        if len(packed) <= TERMINATION_MESSAGE_LIMIT:
            return packed
        if not texts:
            raise ValueError(f"the answer for {len(self.disks)} disks has {len(packed)} bytes and does not fit")
        return self._by_numbers(texts[1:])

    def _by_columns(self) -> str:
        """Return JSON with a list per field of the disks, whose compressed size is a third smaller."""
        whole = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"disks"})
        rows = [disk.model_dump(mode="json", by_alias=True) for disk in self.disks]
        whole["disks"] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_message(cls, text: str) -> Answer:
        """Return the answer in a termination message. Raises ValueError, of which pydantic's error is a subclass."""
        try:
            if text.startswith(_COMPRESSED):
                whole = json.loads(compact_encoding.from_text(text.removeprefix(_COMPRESSED), _UNPACKED_LIMIT))
                columns = whole["disks"]
            elif text.startswith(_NUMBERS):
                data = compact_encoding.from_text(text.removeprefix(_NUMBERS), _UNPACKED_LIMIT)
                head, _, numbers = data.partition(b"\n")
                whole = json.loads(head)
                columns = _columns(numbers) | whole["disks"]
            else:
                return cls.model_validate_json(text)
            whole["disks"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a worker's answer: {error}") from error
        return cls.model_validate(whole)


def _columns(numbers: bytes) -> dict[str, list[Any]]:
    """Return the numeric fields of all disks by name, and empty file names. Raises LookupError, ValueError."""
    columns: dict[str, list[Any]] = {**compact_encoding.unpack_numbers(numbers, _WIDTHS)}
    return columns | {"type": [_TYPES[at] for at in columns["type"]], "file": [""] * len(columns["type"])}
