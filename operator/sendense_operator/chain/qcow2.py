"""A QCOW2 header, read without opening the image.

A data file or a foreign backing name in it would make qemu open whatever an attacker wrote there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 4096
"""Enough for the header and its backing name (at most 1023 bytes, in the first cluster of ours)."""
SMALLEST_CLUSTER: Final = 16 << 10
"""Bytes. Ours are larger; L2 caches are bounded in steps of this, which must not exceed a cluster."""

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
"""L1 entries and offset, refcount table's offset and clusters, snapshots and their offset."""
_TABLES_AT: Final = 36
_REFCOUNT_ORDER_AT: Final = 96
_HEADER_LENGTH_AT: Final = 100
_LEAST_HEADER: Final = 104
_COMPRESSION_AT: Final = 104
_MOST_L1_BYTES: Final = 32 << 20
_MOST_REFCOUNT_BYTES: Final = 8 << 20
_MOST_REFCOUNT_ORDER: Final = 6
_MOST_OFFSET: Final = 1 << 56
"""Bits 56 and up of an offset are flags or reserved. These are limits of qemu's own."""
_EXTENSION: Final = struct.Struct(">II")
_EXTENSION_END: Final = 0
_BACKING_FORMAT: Final = 0xE2792ACA
_KNOWN: Final = _DIRTY | _CORRUPT | _DATA_FILE | (1 << 3) | _EXTENDED_L2


class HeaderError(ValueError):
    """Not an image that may be opened."""


@dataclass(frozen=True)
class Header:
    """What matters of a header."""

    virtual_size: int
    cluster_size: int
    backing: str | None
    backing_format: str | None = None
    """How qemu will read the backing file; None: it would guess, which an attacker could use."""


def parse(data: bytes) -> Header:
    """Return the header in the first HEADER_BYTES of an image. Raises HeaderError."""
    if len(data) <= _COMPRESSION_AT:
        raise HeaderError(f"{len(data)} bytes are no qcow2 header")
    magic, version, offset, length, bits, virtual_size = _FIXED.unpack_from(data)
    if magic != _MAGIC or version != 3:
        raise HeaderError("not a qcow2 image of version 3")
    crypt = struct.unpack_from(">I", data, 32)[0]
    (features,) = _INCOMPATIBLE.unpack_from(data, 72)
    if crypt or features & _DATA_FILE or features & ~_KNOWN:
        raise HeaderError(f"features {features:#x} or encryption {crypt} that no layer of ours has")
    if features & _CORRUPT:
        raise HeaderError("marked corrupt")
    if not SMALLEST_CLUSTER <= 1 << min(bits, 64) <= _LARGEST_CLUSTER:
        raise HeaderError(f"cluster size of {bits} bits")
    _check_tables(data, bits, virtual_size, features)
    backing = None
    if offset:
        if length > 1023 or offset + length > len(data):
            raise HeaderError(f"backing name of {length} bytes at {offset}")
        backing = data[offset : offset + length].decode("utf-8", "replace")
    return Header(virtual_size, 1 << bits, backing, _backing_format(data, offset))


def _check_tables(data: bytes, bits: int, virtual_size: int, features: int) -> None:
    """Raise HeaderError for what qemu refuses to open or to check for its content.

    A tool that fails says nothing about content, so whatever of it lies in the header is found out here.
    """
    l1_size, l1_offset, refcounts_at, refcount_clusters, snapshots, snapshots_at = _TABLES.unpack_from(data, _TABLES_AT)
    order, header_length = struct.unpack_from(">II", data, _REFCOUNT_ORDER_AT)
    cluster = 1 << bits
    l2_reach = cluster // (16 if features & _EXTENDED_L2 else 8) * cluster
    if not -(-virtual_size // l2_reach) <= l1_size <= _MOST_L1_BYTES // 8:
        raise HeaderError(f"L1 table of {l1_size} entries for {virtual_size} bytes")
    if not 1 <= refcount_clusters <= max(1, _MOST_REFCOUNT_BYTES // cluster):
        raise HeaderError(f"refcount table of {refcount_clusters} clusters")
    for what, at in (("L1", l1_offset), ("refcount", refcounts_at)):
        if at % cluster or not at < _MOST_OFFSET:
            raise HeaderError(f"{what} table at {at}")
    if snapshots or snapshots_at:
        raise HeaderError(f"{snapshots} internal snapshots at {snapshots_at}, which no layer of ours has")
    if order > _MOST_REFCOUNT_ORDER:
        raise HeaderError(f"refcounts of 2^{order} bits")
    if not _LEAST_HEADER <= header_length <= cluster:
        raise HeaderError(f"header of {header_length} bytes")
    if header_length > _COMPRESSION_AT and data[_COMPRESSION_AT]:
        raise HeaderError(f"compression type {data[_COMPRESSION_AT]}, which no layer of ours has")


def _backing_format(data: bytes, end: int) -> str | None:
    """Return what the header's extensions say; they end before the backing name, if there is one."""
    at, end = struct.unpack_from(">I", data, _HEADER_LENGTH_AT)[0], end or len(data)
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(data, at)
        at += _EXTENSION.size
        if kind == _EXTENSION_END:
            return None
        if at + length > end:
            raise HeaderError(f"header extension of {length} bytes at {at}")
        if kind == _BACKING_FORMAT:
            return data[at : at + length].decode("utf-8", "replace")
        at += (length + 7) & ~7
    return None


def check_header(header: Header, virtual_size: int, backing: str | None = None) -> None:
    """Raise HeaderError unless the image has this size and exactly this backing name (None: none), read as qcow2."""
    if header.virtual_size != virtual_size:
        raise HeaderError(f"image of {header.virtual_size} bytes, expected {virtual_size}")
    if header.backing != backing:
        raise HeaderError(f"backing name {header.backing!r}, expected {backing!r}")
    if backing is not None and header.backing_format != "qcow2":
        raise HeaderError(f"backing format {header.backing_format!r}, expected 'qcow2'")


def backing_name(data: bytes) -> str | None:
    """Backing name of any file, whatever else its first HEADER_BYTES say: None where there is none.

    Raises HeaderError for a qcow2 image that may have one which can't be determined.
    """
    if data[:4] != _MAGIC_BYTES:
        return None
    try:
        _, _, offset, length, _, _ = _FIXED.unpack_from(data)
    except struct.error as error:
        raise HeaderError(f"{len(data)} bytes are no qcow2 header") from error
    if not offset or not length:
        return None
    if offset + length > len(data):
        raise HeaderError(f"backing name of {length} bytes at {offset}")
    return data[offset : offset + length].decode("utf-8", "replace")
