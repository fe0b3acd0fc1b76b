"""Whether a Backup's status tells of the layers that its manifest names: consolidation replaces layers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sendense_operator.answer import DiskAnswer

_FIELDS: Final = ("type", "parent", "depth", "file", "storedBytes", "guestBytes", "changedBytes", "compaction")
_Row = tuple[int, tuple[object, ...]]


def mark_of_status(disks: Iterable[Mapping[str, Any]]) -> int:
    """Return a number for the layers of `status.disks`; 0: it names no disk."""
    return _mark([(disk.get("key", 0), tuple(disk.get(field) for field in _FIELDS)) for disk in disks])


def mark_of_point(disks: Sequence[DiskAnswer]) -> int:
    """Return the number for the layers of a restore point: that of a status that tells of exactly these."""
    return _mark([(disk.key, _values(disk)) for disk in disks])


def _values(disk: DiskAnswer) -> tuple[object, ...]:
    return (
        disk.type.value,
        disk.parent or None,
        disk.depth,
        disk.file,
        disk.stored_bytes,
        disk.guest_bytes,
        disk.changed_bytes,
        disk.compaction or None,
    )


def _mark(rows: list[_Row]) -> int:
    return hash(tuple(sorted(rows, key=lambda row: row[0]))) if rows else 0
