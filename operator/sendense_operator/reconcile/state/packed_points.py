"""Restore points as they are kept in memory: some 300 bytes each, for there may be a hundred thousand.

As models with their disks they take ten times as much.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from sendense_operator.catalogue_format import PointRecord

OVERHEAD: Final = 300
"""Bytes of a packed point besides its text: key, object, place in its table."""
_COMMON: Final = (
    b'"hardware":{"processors":2,"memoryBytes":4294967296,"guestOs":"ubuntu64Guest","networkCards":[{"network":"VM Netw'
    b'ork","macAddress":"00:50:56:"}],"datastores":["datastore1"]},'
    b'"parentChangeId":"52 00 00/1"}],"damage":"","fullNext":"","sequence":1,"jobId":"backup-","vmName":"",'
    b'"reason":"NoParent","started":"2025-10-05T12:00:00Z","finished":"2025-10-05T12:00:00Z",'
    b'"type":"Full","file":"/disk-0/full-20251005-120000.qcow2","changeId":"52 '
    b'{"vm":"","backup":"","backupUid":"","manifest":"/backups/.json","disks":[{"index":0,"key":2000,'
    b'"type":"Incremental","file":"/disk-1/incr-20251005-120000.qcow2","virtualSize":,"stored":,"guestBytes":,'
    b'"transferred":,"changeId":"52 ","parent":"","parentChangeId":"52 ","depth":2},{"index":1,"key":2001,'
)
"""Text that the records of a catalogue have in common, what is most likely last."""


def pack(record: PointRecord) -> bytes:
    """Return the same record gives the same bytes."""
    packing = zlib.compressobj(6, zdict=_COMMON)
    text = record.model_dump_json(by_alias=True, exclude_defaults=True)
    return packing.compress(text.encode()) + packing.flush()


def unpack(data: bytes) -> PointRecord:
    """Inverse of `pack`."""
    return PointRecord.model_validate_json(zlib.decompressobj(zdict=_COMMON).decompress(data))


class PackedPoints(Mapping[str, PointRecord]):
    """Restore points by the UID of the Backup that made them; each is unpacked when it is asked for."""

    __slots__ = ("_packed", "size")

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self.size = 0
        """Bytes of memory, about."""

    def add(self, record: PointRecord) -> int:
        """Add a record, or replace the one of the same UID; return the bytes that it takes."""
        self._packed[record.backup_uid] = packed = pack(record)
        size = len(packed) + OVERHEAD
        self.size += size
        return size

    def __getitem__(self, uid: str) -> PointRecord:
        return unpack(self._packed[uid])

    def __contains__(self, uid: object) -> bool:
        return uid in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __eq__(self, other: object) -> bool:
        return self._packed == other._packed if isinstance(other, PackedPoints) else Mapping.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]
