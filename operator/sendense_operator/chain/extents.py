"""The output of `qemu-img map --output=json` for a layer.

The tool prints one extent per line. A large layer has millions, so they are summed up one by one and not stored.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from blake3 import blake3

UNDEFINED: Final = 255
"""Depth of chunks that no layer defines; a stack has at most 64 layers."""
_SUBCLUSTER: Final = 4 << 10
"""Smallest part of the operator's layers that is defined or not, in bytes."""
_AROUND: Final = " \t\r\n[],"
"""What is around the extents of a map: it is an array."""
_RANGE: Final = struct.Struct("=QQ")
_NOT: Final = bytes(value == 0 for value in range(256))


@lru_cache(maxsize=64)
def _at_most(depth: int) -> bytes:
    """Return the translation table that lowers every depth to `depth` at most."""
    return bytes(min(value, depth) for value in range(256))


class Extent(NamedTuple):
    """A run of guest bytes of one kind; positions and lengths in bytes. Made by the million, so no dataclass."""

    start: int
    length: int
    depth: int
    """Layer that defines it: 0, this layer or none; n, the nth layer below."""
    present: bool
    zero: bool
    data: bool
    offset: int | None = None
    """Position of the data in the file of its layer."""


class MapError(ValueError):
    """The output is not a map, or has gaps."""


def parse_line(line: str) -> Extent | None:
    """Return the extent in one line of the map, None if there is none. Raises MapError."""
    text = line.strip(_AROUND)
    if not text:
        return None
    try:
        raw: dict[str, Any] = json.loads(text)
        return Extent(
            int(raw["start"]),
            int(raw["length"]),
            int(raw["depth"]),
            bool(raw["present"]),
            bool(raw["zero"]),
            bool(raw["data"]),
            int(raw["offset"]) if "offset" in raw else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MapError(f"not an extent: {text[:200]!r}") from error


@dataclass
class LayerMap:
    """Sums over the extents of a layer, and its chunks that need to be read."""

    virtual_size: int
    """Virtual size of the disk in bytes."""
    chunk: int
    """Size of a chunk in bytes."""
    layers: int = 1
    """Number of layers, from the top, that count as this layer."""
    coverage: int = 0
    """Bytes that this layer defines, zeroes included."""
    guest_bytes: int = 0
    """Bytes of guest data in this layer."""
    extents: int = 0
    """Number of extents."""
    file_ends: dict[int, int] = field(default_factory=dict)
    """By depth, the end of the last visible data in that layer's file. A shorter file is truncated."""
    data_chunks: bytearray = field(default_factory=bytearray)
    """One byte per chunk: 1 if the restore point may hold something other than zeroes in it."""
    own_chunks: bytearray = field(default_factory=bytearray)
    """One byte per chunk: 1 if this layer itself defines something in it."""
    defined_by: bytearray = field(default_factory=bytearray)
    """One byte per chunk: depth of the uppermost layer that defines something in it, UNDEFINED if none does."""
    _end: int = 0
    _outline: blake3 = field(default_factory=blake3, repr=False, compare=False)
    _run: tuple[int, int] = (0, 0)
    """The last run that this layer defines, of which the end may not be known yet."""

    def __post_init__(self) -> None:
        count = chunk_count(self.virtual_size, self.chunk)
        self.data_chunks = bytearray(count)
        self.own_chunks = bytearray(count)
        self.defined_by = bytearray([UNDEFINED]) * count

    def add(self, extent: Extent) -> None:
        """Add the next extent. Raises MapError if it does not follow the last one or exceeds the disk."""
        end = extent.start + extent.length
        if extent.start != self._end or extent.length <= 0 or end > self.virtual_size:
            raise MapError(
                f"the extent at byte {extent.start} with {extent.length} bytes does not follow byte {self._end} of "
                f"{self.virtual_size}"
            )
        self._end = end
        self.extents += 1
        own = extent.depth < self.layers and extent.present
        holds_data = extent.data and not extent.zero
        if own:
            self.coverage += extent.length
            self.guest_bytes += extent.length if holds_data else 0
            self._mark(self.own_chunks, extent.start, end)
            self._draw(extent.start // _SUBCLUSTER * _SUBCLUSTER, -(-end // _SUBCLUSTER) * _SUBCLUSTER)
        if extent.present:
            self._define(extent.depth, extent.start, end)
        if holds_data and extent.offset is not None:
            self.file_ends[extent.depth] = max(self.file_ends.get(extent.depth, 0), extent.offset + extent.length)
        if holds_data:
            self._mark(self.data_chunks, extent.start, end)

    @property
    def outline(self) -> bytes:
        """Digest of which subclusters (4 KiB) this layer defines, whatever they hold."""
        outline = self._outline.copy()
        outline.update(_RANGE.pack(*self._run))
        return outline.digest()

    def _draw(self, start: int, end: int) -> None:
        if start > self._run[1]:
            self._outline.update(_RANGE.pack(*self._run))
            self._run = start, end
        else:
            self._run = self._run[0], max(end, self._run[1])

    def _mark(self, chunks: bytearray, start: int, end: int) -> None:
        first, last = start // self.chunk, (end - 1) // self.chunk
        chunks[first : last + 1] = b"\1" * (last - first + 1)

    def _define(self, depth: int, start: int, end: int) -> None:
        first, last = start // self.chunk, (end - 1) // self.chunk + 1
        self.defined_by[first:last] = self.defined_by[first:last].translate(_at_most(depth))

    def close(self) -> LayerMap:
        """Return the map after the last extent was added. Raises MapError if it ends before the disk does."""
        if self._end != self.virtual_size:
            raise MapError(f"the map ends at byte {self._end} of {self.virtual_size}")
        return self


def fold(lines: Iterable[str], virtual_size: int, chunk: int) -> LayerMap:
    """Return the map of all lines of the output. Raises MapError."""
    layer = LayerMap(virtual_size, chunk)
    for line in lines:
        extent = parse_line(line)
        if extent is not None:
            layer.add(extent)
    return layer.close()


def chunk_count(virtual_size: int, chunk: int) -> int:
    """Return the number of chunks of a disk of `virtual_size` bytes; the last one may be shorter."""
    return -(-virtual_size // chunk)


def chunk_length(index: int, virtual_size: int, chunk: int) -> int:
    """Return the length of chunk `index` in bytes."""
    return min(chunk, virtual_size - index * chunk)


def inverted(chunks: bytearray) -> bytearray:
    """Return 1 for each chunk that is not marked, and 0 for each other one."""
    return chunks.translate(_NOT)


def marked(chunks: bytearray) -> Iterator[int]:
    """Yield the indexes of the marked chunks in ascending order."""
    index = chunks.find(1)
    while index >= 0:
        yield index
        index = chunks.find(1, index + 1)


def runs(chunks: bytearray) -> Iterator[tuple[int, int]]:
    """Yield (first index, count) of each run of marked chunks in ascending order."""
    first = chunks.find(1)
    while first >= 0:
        end = chunks.find(0, first)
        end = len(chunks) if end < 0 else end
        yield first, end - first
        first = chunks.find(1, end)


# 128 KiB clusters with extended L2 entries: 16 bytes per L2 entry, 2 bytes per refcount, and the tables above them.
_CLUSTER = 128 << 10
_METADATA_PER_CLUSTER = 16 + 2 + 2
_METADATA_FIXED = 1 << 20


def worst_case_bytes(virtual_size: int) -> int:
    """Return the most bytes that a full of a disk can occupy: all clusters, their metadata, and the digest list."""
    clusters = -(-virtual_size // _CLUSTER)
    digests = 32 * chunk_count(virtual_size, 4 << 20)
    return clusters * (_CLUSTER + _METADATA_PER_CLUSTER) + digests + _METADATA_FIXED
