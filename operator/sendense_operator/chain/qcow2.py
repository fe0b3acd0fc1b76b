"""Parsing and checks of a QCOW2 header without opening the image.

A data file or a foreign backing name in a header would make QEMU open whatever an attacker put there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 4096
"""Bytes that contain the header and its backing name (at most 1023 bytes) of an image of the operator."""
SMALLEST_CLUSTER: Final = 16 << 10
"""Smallest accepted cluster in bytes. It is also the entry size of L2 caches, which must not exceed a cluster; the
operator's own images have larger clusters."""

_LARGEST_CLUSTER: Final = 2 << 20
_MAGIC: Final = 0x514649FB
_MAGIC_BYTES: Final = struct.pack(">I", _MAGIC)
_FIXED: Final = struct.Struct(">IIQIIQ")
_INCOMPATIBLE: Final = struct.Struct(">Q")
_DATA_FILE: Final = 1 << 2
_CORRUPT: Final = 1 << 1
_EXTENDED_L2: Final = 1 << 4
_DIRTY: Final = 1 << 0
_TABLES: Final = struct.Struct(">IQQIIQ")
"""Entries and offset of the L1 table, offset and clusters of the refcount table, number and offset of snapshots."""
_TABLES_AT: Final = 36
_REFCOUNT_ORDER_AT: Final = 96
_HEADER_LENGTH_AT: Final = 100
_LEAST_HEADER: Final = 104
_COMPRESSION_AT: Final = 104
_MOST_L1_BYTES: Final = 32 << 20
_MOST_REFCOUNT_BYTES: Final = 8 << 20
_MOST_REFCOUNT_ORDER: Final = 6
_MOST_OFFSET: Final = 1 << 56
"""Bits 56 and up of an offset are flags or reserved. This and the limits above are those of QEMU."""
_EXTENSION: Final = struct.Struct(">II")
_EXTENSION_END: Final = 0
_BACKING_FORMAT: Final = 0xE2792ACA
_KNOWN: Final = _DIRTY | _CORRUPT | _DATA_FILE | (1 << 3) | _EXTENDED_L2


class HeaderError(ValueError):
    """The file is not an image that may be opened."""


@dataclass(frozen=True)
class Header:
    """The relevant fields of a header; sizes in bytes."""

    virtual_size: int
    cluster_size: int
    backing: str | None
    backing_format: str | None = None
    """Format in which QEMU will read the backing file; None: QEMU would guess it, which an attacker could exploit."""


def parse(data: bytes) -> Header:
    """Return the header in the first HEADER_BYTES of an image. Raises HeaderError."""
    if len(data) <= _COMPRESSION_AT:
        raise HeaderError(f"too short for a QCOW2 header: {len(data)} bytes")
    magic, version, offset, length, bits, virtual_size = _FIXED.unpack_from(data)
    if magic != _MAGIC or version != 3:
        raise HeaderError("not a QCOW2 image of version 3")
    crypt = struct.unpack_from(">I", data, 32)[0]
    (features,) = _INCOMPATIBLE.unpack_from(data, 72)
    if crypt or features & _DATA_FILE or features & ~_KNOWN:
        raise HeaderError(f"the image has features {features:#x} and encryption {crypt}, which the operator never uses")
    if features & _CORRUPT:
        raise HeaderError("the image is marked as corrupt")
    if not SMALLEST_CLUSTER <= 1 << min(bits, 64) <= _LARGEST_CLUSTER:
        raise HeaderError(f"invalid cluster size of 2^{bits} bytes")
    _check_tables(data, bits, virtual_size, features)
    backing = None
    if offset:
        if length > 1023 or offset + length > len(data):
            raise HeaderError(f"invalid backing name of {length} bytes at offset {offset}")
        backing = data[offset : offset + length].decode("utf-8", "replace")
    return Header(virtual_size, 1 << bits, backing, _backing_format(data, offset))


def _check_tables(data: bytes, bits: int, virtual_size: int, features: int) -> None:
    """Raise HeaderError for values because of which QEMU would refuse to open or check the image.

    If a tool fails, it is not known whether the image or something else is at fault. Faults of the header are therefore
    found here.
    """
    l1_size, l1_offset, refcounts_at, refcount_clusters, snapshots, snapshots_at = _TABLES.unpack_from(data, _TABLES_AT)
    order, header_length = struct.unpack_from(">II", data, _REFCOUNT_ORDER_AT)
    cluster = 1 << bits
    l2_reach = cluster // (16 if features & _EXTENDED_L2 else 8) * cluster
    if not -(-virtual_size // l2_reach) <= l1_size <= _MOST_L1_BYTES // 8:
        raise HeaderError(f"invalid L1 table of {l1_size} entries for {virtual_size} bytes")
    if not 1 <= refcount_clusters <= max(1, _MOST_REFCOUNT_BYTES // cluster):
        raise HeaderError(f"invalid refcount table of {refcount_clusters} clusters")
    for what, at in (("L1", l1_offset), ("refcount", refcounts_at)):
        if at % cluster or not at < _MOST_OFFSET:
            raise HeaderError(f"invalid offset {at} of the {what} table")
    if snapshots or snapshots_at:
        raise HeaderError(
            f"the image has {snapshots} internal snapshots at offset {snapshots_at}, which the operator never uses"
        )
    if order > _MOST_REFCOUNT_ORDER:
        raise HeaderError(f"invalid refcounts of 2^{order} bits")
    if not _LEAST_HEADER <= header_length <= cluster:
        raise HeaderError(f"invalid header length of {header_length} bytes")
    if header_length > _COMPRESSION_AT and data[_COMPRESSION_AT]:
        raise HeaderError(f"the image has compression type {data[_COMPRESSION_AT]}, which the operator never uses")


def _backing_format(data: bytes, end: int) -> str | None:
    """Return the backing format in the header's extensions, which end at `end` (the backing name), or None."""
    at, end = struct.unpack_from(">I", data, _HEADER_LENGTH_AT)[0], end or len(data)
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(data, at)
        at += _EXTENSION.size
        if kind == _EXTENSION_END:
            return None
        if at + length > end:
            raise HeaderError(f"invalid header extension of {length} bytes at offset {at}")
        if kind == _BACKING_FORMAT:
            return data[at : at + length].decode("utf-8", "replace")
        at += (length + 7) & ~7
    return None


def check_header(header: Header, virtual_size: int, backing: str | None = None) -> None:
    """Raise HeaderError unless the image has this size and this backing name (None: none) in the format qcow2."""
    if header.virtual_size != virtual_size:
        raise HeaderError(f"the virtual size is {header.virtual_size} bytes instead of {virtual_size}")
    if header.backing != backing:
        raise HeaderError(f"the backing name is {header.backing!r} instead of {backing!r}")
    if backing is not None and header.backing_format != "qcow2":
        raise HeaderError(f"the backing format is {header.backing_format!r} instead of 'qcow2'")


def backing_name(data: bytes) -> str | None:
    """Return the backing name of any file from its first HEADER_BYTES, None if it has none.

    Raises HeaderError for a QCOW2 image whose backing name can't be determined.
    """
    if data[:4] != _MAGIC_BYTES:
        return None
    try:
        _, _, offset, length, _, _ = _FIXED.unpack_from(data)
    except struct.error as error:
        raise HeaderError(f"too short for a QCOW2 header: {len(data)} bytes") from error
    if not offset or not length:
        return None
    if offset + length > len(data):
        raise HeaderError(f"invalid backing name of {length} bytes at offset {offset}")
    return data[offset : offset + length].decode("utf-8", "replace")
