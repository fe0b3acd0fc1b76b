"""Whether a Backup's status tells of the layers that its manifest names: consolidation replaces layers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sendense_operator.answer import DiskAnswer

_SMALL: Final = (1 << 30) - 1
_Row = tuple[int, tuple[object, ...]]


def mark_of_status(disks: Iterable[Mapping[str, Any]]) -> int:
    """Return a number for the layers of `status.disks`; 0: it names no disk."""
    return _mark([(disk.get("key", 0), _fields(disk)) for disk in disks])


def _fields(disk: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        disk.get("type"),
        disk.get("parent"),
        disk.get("depth"),
        disk.get("file"),
        disk.get("storedBytes"),
        disk.get("guestBytes"),
        disk.get("changedBytes"),
        disk.get("compaction"),
    )


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
    # As a small number: a scan keeps one for each of tens of thousands of Backups.
    return hash(tuple(sorted(rows, key=lambda row: row[0]))) & _SMALL or 1 if rows else 0
