"""Stream-optimised VMDK images, written in one pass: compressed grains first, the tables that find them last.

QEMU writes this format only to a file of its own, from one thread, and with tables in front. This one can be appended
to an archive, and is what VMware's own tools write. No I/O.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

SECTOR: Final = 512
GRAIN: Final = 64 << 10
"""Bytes of the disk that are compressed as one."""
HEAD: Final = 64 << 10
"""Bytes in front of the first grain: header and descriptor."""
MOST_BYTES: Final = (1 << 32) * SECTOR
"""Longest image in bytes: tables have 32-bit sector numbers."""

_GRAIN_SECTORS: Final = GRAIN // SECTOR
_TABLE_ENTRIES: Final = 512
"""Grains per grain table, which describes 32 MiB of the disk."""
_TABLE: Final = struct.Struct(f"<{_TABLE_ENTRIES}I")
_TABLE_SECTORS: Final = _TABLE.size // SECTOR
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQB4sH")
_MAGIC: Final = b"KDMV"
_VERSION: Final = 3
_FLAGS: Final = 0x30001
"""Line ends can be checked; the grains are compressed; there are markers."""
_DESCRIPTOR_SECTOR: Final = 1
_DESCRIPTOR_SECTORS: Final = 20
_AT_END: Final = (1 << 64) - 1
"""Position of the grain directory in the header at the beginning: see the footer."""
_LINE_ENDS: Final = b"\n \r\n"
_DEFLATE: Final = 1
_MARKER: Final = struct.Struct("<QII")
_TABLE_MARKER, _DIRECTORY_MARKER, _FOOTER_MARKER = 1, 2, 3
_GRAIN_HEADER: Final = struct.Struct("<QI")
_LEVEL: Final = 1
"""Of zlib: higher ones take several times as long, and save little of most disks."""
_ZEROES: Final = bytes(GRAIN)
_MOST_GRAIN: Final = -(-(_GRAIN_HEADER.size + GRAIN + 64) // SECTOR) * SECTOR
"""Most bytes of a packed grain: what deflate can't compress grows by 5 bytes per 16 KiB at most."""


class StreamTooLongError(Exception):
    """The format can't hold this much data."""


class PackedGrain(NamedTuple):
    """A grain as it is in the image."""

    number: int
    """Position in the disk, in grains."""
    data: bytes


def most_bytes(virtual_size: int, data_bytes: int, data_chunks: int) -> int:
    """Return the most bytes of an image of a disk with `data_bytes` of data in `data_chunks` chunks of 4 MiB."""
    grains = -(-data_bytes // GRAIN) + 1
    tables = min(data_chunks, _table_count(virtual_size)) * (SECTOR + _TABLE.size)
    return HEAD + grains * _MOST_GRAIN + tables + _directory_bytes(virtual_size) + 4 * SECTOR


def pack_grains(first: int, data: bytes | bytearray | memoryview) -> Iterator[PackedGrain]:
    """Yield the grains of `data`, of which grain `first` is the first one, compressed; without those of zeroes."""
    for at in range(0, len(data), GRAIN):
        content = bytes(data[at : at + GRAIN])
        if content == _ZEROES[: len(content)]:
            continue
        number = first + at // GRAIN
        packed = zlib.compress(content.ljust(GRAIN, b"\0"), _LEVEL)
        yield PackedGrain(number, _padded(_GRAIN_HEADER.pack(number * _GRAIN_SECTORS, len(packed)) + packed))


class StreamBuilder:
    """The bytes of one image in their order: `begin`, `add` for ascending grains, `end`."""

    def __init__(self, virtual_size: int, name: str, content_id: int) -> None:
        """`name`: file name of the image; `content_id`: 32 bits. Raises ValueError for a size of no whole sectors."""
        if virtual_size <= 0 or virtual_size % SECTOR:
            raise ValueError(f"a disk of {virtual_size} bytes has no whole sectors")
        self._virtual_size, self._name, self._content_id = virtual_size, name, content_id
        self._directory = [0] * _table_count(virtual_size)
        self._table = [0] * _TABLE_ENTRIES
        self._sector = HEAD // SECTOR
        self._last = -1

    def begin(self) -> bytes:
        """Return header and descriptor, which depend on nothing but what the constructor received."""
        descriptor = _descriptor(self._virtual_size, self._name, self._content_id)
        header = _padded(self._header(_AT_END))
        return (header + descriptor.encode("ascii")).ljust(HEAD, b"\0")

    def add(self, grains: Sequence[PackedGrain]) -> bytes:
        """Return what follows for further grains.

        Raises ValueError for one that is not behind the last one, and StreamTooLongError.
        """
        parts = []
        for grain in grains:
            if not self._last < grain.number < -(-self._virtual_size // GRAIN):
                raise ValueError(f"grain {grain.number} after grain {self._last}")
            if grain.number // _TABLE_ENTRIES != self._last // _TABLE_ENTRIES:
                parts.append(self._end_table())
            self._last = grain.number
            self._table[grain.number % _TABLE_ENTRIES] = self._sector
            parts.append(grain.data)
            self._advance(len(grain.data))
        return b"".join(parts)

    def end(self) -> bytes:
        """Return the rest: the last table, the directory, and the footer that says where it is.

        Raises StreamTooLongError.
        """
        table = self._end_table()
        length = len(self._directory) * 4
        parts = [table, _marker(_sectors(length), _DIRECTORY_MARKER)]
        self._advance(SECTOR)
        footer = self._header(self._sector)
        parts.append(_padded(struct.pack(f"<{len(self._directory)}I", *self._directory)))
        return b"".join([*parts, _marker(1, _FOOTER_MARKER), _padded(footer), bytes(SECTOR)])

    def _end_table(self) -> bytes:
        """Return the table of the grains since the last one; nothing if there are none."""
        if not any(self._table):
            return b""
        marker = _marker(_TABLE_SECTORS, _TABLE_MARKER)
        self._advance(SECTOR)
        self._directory[self._last // _TABLE_ENTRIES] = self._sector
        self._advance(_TABLE.size)
        table, self._table = _TABLE.pack(*self._table), [0] * _TABLE_ENTRIES
        return marker + table

    def _advance(self, length: int) -> None:
        self._sector += length // SECTOR
        if self._sector * SECTOR > MOST_BYTES - HEAD - _directory_bytes(self._virtual_size):
            raise StreamTooLongError(f"a stream-optimised VMDK has at most {MOST_BYTES} bytes")

    def _header(self, directory: int) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            _FLAGS,
            self._virtual_size // SECTOR,
            _GRAIN_SECTORS,
            _DESCRIPTOR_SECTOR,
            _DESCRIPTOR_SECTORS,
            _TABLE_ENTRIES,
            0,
            directory,
            HEAD // SECTOR,
            0,
            _LINE_ENDS,
            _DEFLATE,
        )


def _descriptor(virtual_size: int, name: str, content_id: int) -> str:
    sectors = virtual_size // SECTOR
    heads, per_track = 255, 63
    cylinders = min(65535, max(1, sectors // (heads * per_track)))
    return (
        "# Disk DescriptorFile\n"
        "version=1\n"
        f"CID={content_id & 0xFFFFFFFF:08x}\n"
        "parentCID=ffffffff\n"
        'createType="streamOptimized"\n'
        "\n# Extent description\n"
        f'RW {sectors} SPARSE "{name}"\n'
        "\n# The Disk Data Base\n#DDB\n\n"
        'ddb.virtualHWVersion = "13"\n'
        f'ddb.geometry.cylinders = "{cylinders}"\n'
        f'ddb.geometry.heads = "{heads}"\n'
        f'ddb.geometry.sectors = "{per_track}"\n'
        'ddb.adapterType = "lsilogic"\n'
    )


def _marker(sectors: int, kind: int) -> bytes:
    return _padded(_MARKER.pack(sectors, 0, kind))


def _padded(data: bytes) -> bytes:
    return data.ljust(_sectors(len(data)) * SECTOR, b"\0")


def _sectors(length: int) -> int:
    return -(-length // SECTOR)


def _table_count(virtual_size: int) -> int:
    return -(-virtual_size // (GRAIN * _TABLE_ENTRIES))


def _directory_bytes(virtual_size: int) -> int:
    return _sectors(_table_count(virtual_size) * 4) * SECTOR
