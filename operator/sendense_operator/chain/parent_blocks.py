"""Why no increment may depend on a restore point: a small file beside its manifest, which itself never changes.

It is written when a check of the point failed or when vCenter refused its change id, so that the next attempt, in
another pod or another cluster, knows of it. Each mark says what it is about: the Backup, and the digest or the change
id of its disk. It speaks against nothing else, and damage is lifted by a later proof that succeeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from sendense_operator.chain.manifest import Manifest, ManifestDisk
from sendense_operator.task import FullReason, Wire

_MESSAGE: Final = 1000
MOST_CHUNKS: Final = 32
"""That are noted, and read again, of one disk: 128 MiB."""


class Unfit(Wire):
    """What speaks against one disk of a restore point. Empty fields: a mark of an earlier version, which had none."""

    index: Annotated[int, Field(ge=0)]
    """Position of the disk in the restore point."""
    reason: FullReason
    """ParentUnverified: it can't be read as it was written. Else only its change id is of no use."""
    message: str = ""
    time: datetime
    backup_uid: str = ""
    digest: str = ""
    """Of damage: root of the disk's digests."""
    change_id: str = ""
    """Of all else: the change id that was refused."""
    layer: str = ""
    """Of damage: path of the layer that is at fault, if one is. All that is read through it is damaged."""
    chunks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_CHUNKS)] = ()
    """Of damage: the first chunks that do not read as they were written, whichever layer is at fault."""

    @property
    def is_damage(self) -> bool:
        """Whether the restore point itself is in doubt."""
        return self.reason is FullReason.PARENT_UNVERIFIED

    @property
    def is_of_content(self) -> bool:
        """Whether it is damage of this restore point alone: another one may read around it."""
        return self.is_damage and bool(self.chunks)

    def is_about(self, manifest: Manifest) -> bool:
        """Return whether it speaks against this restore point, and not against another one that had its name."""
        disk = next((disk for disk in manifest.disks if disk.index == self.index), None)
        if disk is None or self.backup_uid not in ("", manifest.backup.uid):
            return False
        return self.digest in ("", disk.digest.root) and self.change_id in ("", disk.change_id)


def mark_damage(
    manifest: Manifest, disk: ManifestDisk, message: str, now: datetime, *, layer: str = "", chunks: Sequence[int] = ()
) -> Unfit:
    """Return the mark of a damaged disk; `layer` or `chunks`: what is at fault, if known."""
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
    """Return the mark of a disk whose change id is of no use."""
    uid = manifest.backup.uid
    return Unfit(index=disk.index, reason=reason, message=message, time=now, backup_uid=uid, change_id=disk.change_id)


_LIST: Final = TypeAdapter(tuple[Unfit, ...])


def to_json(marks: Sequence[Unfit]) -> bytes:
    """Return all marks of one restore point."""
    kept = [mark.model_copy(update={"message": mark.message[:_MESSAGE]}) for mark in marks]
    return json.dumps([mark.model_dump(mode="json", by_alias=True) for mark in kept], indent=1).encode() + b"\n"


def from_json(data: bytes, now: datetime, manifest: Manifest) -> tuple[Unfit, ...]:
    """Inverse of `to_json`, without marks that are not about `manifest`.

    What can't be read speaks against all its disks, until a proof succeeds: somebody had a reason to write it.
    """
    try:
        return tuple(mark for mark in _LIST.validate_json(data) if mark.is_about(manifest))
    except ValidationError:
        text = "its .unfit file can't be read"
        return tuple(mark_damage(manifest, disk, text, now) for disk in manifest.disks)
