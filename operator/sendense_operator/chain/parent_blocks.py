"""Marks that keep a restore point from being the parent of an increment, in a file beside its manifest.

The manifest itself never changes. A mark is added when the proof of a restore point failed or when vCenter refused its
change ID, so that the next attempt, in another pod or another cluster, knows it. Each mark identifies the Backup, and
the digest or change ID of its disk, and applies to nothing else. A later proof that succeeds removes a damage mark.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.task import FullReason, Wire

_MAX_MESSAGE: Final = 1000
MOST_CHUNKS: Final = 32
"""Chunks of one disk that a mark names at most, and that are read again: 128 MiB."""


class Unfit(Wire):
    """A mark of one disk of a restore point. Marks of earlier versions lack some fields, which are then empty."""

    index: Annotated[int, Field(ge=0)]
    """Index of the disk in the restore point."""
    reason: FullReason
    """ParentUnverified: the disk does not read as it was written. Otherwise only its change ID is unusable."""
    message: str = ""
    time: datetime
    backup_uid: str = ""
    digest: str = ""
    """For damage: root of the disk's digests."""
    change_id: str = ""
    """For other reasons: the unusable change ID."""
    layer: str = ""
    """For damage: path of the damaged layer, if it is known. Every disk that is read through it is damaged."""
    chunks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_CHUNKS)] = ()
    """For damage: the first chunks that do not read as they were written, if the damaged layer is not known."""

    @property
    def is_damage(self) -> bool:
        """Whether the restore point itself is damaged."""
        return self.reason is FullReason.PARENT_UNVERIFIED

    @property
    def is_of_content(self) -> bool:
        """Whether certain chunks are damaged; a restore point above may have replaced them."""
        return self.is_damage and bool(self.chunks)

    def is_about(self, manifest: Manifest) -> bool:
        """Return whether the mark applies to this restore point, and not to an earlier one of the same name."""
        disk = next((disk for disk in manifest.disks if disk.index == self.index), None)
        if disk is None or self.backup_uid not in ("", manifest.backup.uid):
            return False
        return self.digest in ("", disk.digest.root) and self.change_id in ("", disk.change_id)


def mark_damage(
    manifest: Manifest, disk: ManifestDisk, message: str, now: datetime, *, layer: str = "", chunks: Sequence[int] = ()
) -> Unfit:
    """Return the mark of a damaged disk; `layer` or `chunks`: what is damaged, if known."""
    return Unfit(
        index=disk.index,
        reason=FullReason.PARENT_UNVERIFIED,
        message=message,
        time=now,
        backup_uid=manifest.backup.uid,
        digest=disk.digest.root,
        layer=layer,
        chunks=tuple(chunks[:MOST_CHUNKS]),
    )


def mark_change(manifest: Manifest, disk: ManifestDisk, reason: FullReason, message: str, now: datetime) -> Unfit:
    """Return the mark of a disk whose change ID is unusable."""
    uid = manifest.backup.uid
    return Unfit(index=disk.index, reason=reason, message=message, time=now, backup_uid=uid, change_id=disk.change_id)


_LIST: Final = TypeAdapter(tuple[Unfit, ...])


def to_json(marks: Sequence[Unfit]) -> bytes:
    """Return the content of the file with all marks of one restore point."""
    kept = [mark.model_copy(update={"message": mark.message[:_MAX_MESSAGE]}) for mark in marks]
    return json.dumps([mark.model_dump(mode="json", by_alias=True) for mark in kept], indent=1).encode() + b"\n"


def from_json(data: bytes, now: datetime, manifest: Manifest) -> tuple[Unfit, ...]:
    """Return the marks in a file's content that apply to `manifest`.

    If the content can't be read, all disks are marked as damaged until a proof succeeds, because there was a mark.
    """
    try:
        return tuple(mark for mark in _LIST.validate_json(data) if mark.is_about(manifest))
    except ValidationError:
        text = "the file with its marks (.unfit) can't be read"
        return tuple(mark_damage(manifest, disk, text, now) for disk in manifest.disks)
