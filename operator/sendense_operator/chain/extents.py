"""What `qemu-img map --output=json` says about a layer.

It prints one extent a line; a big layer has millions, so lines are folded one by one and never held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of guest bytes of one kind."""

    start: int
    length: int
    depth: int
    """0: this layer speaks about it, or nobody does; n: the nth layer below."""
    present: bool
    zero: bool
    data: bool
    offset: int | None = None
    """Where the data lies in the file of its layer."""


class MapError(ValueError):
    """Not a map, or one with gaps."""


def parse_line(line: str) -> Extent | None:
    """Return one line of the map; None for a line without an extent. Raises MapError."""
    text = line.strip().removeprefix("[").strip().removesuffix("]").strip().removesuffix(",")
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
    """Sums over a layer of a disk of `virtual_size` bytes, and which chunks of `chunk` bytes need to be read.

    `data_chunks` has one byte a chunk: 1 where some byte of the restore point may be other than zero.
    `own_chunks` likewise: 1 where this very layer says something.
    """

    virtual_size: int
    chunk: int
    coverage: int = 0
    guest_bytes: int = 0
    extents: int = 0
    file_ends: dict[int, int] = field(default_factory=dict)
    """By depth: where the last data that can be seen ends in that layer's file. A shorter file was truncated."""
    data_chunks: bytearray = field(default_factory=bytearray)
    own_chunks: bytearray = field(default_factory=bytearray)
    _end: int = 0

    def __post_init__(self) -> None:
        count = chunk_count(self.virtual_size, self.chunk)
        self.data_chunks = bytearray(count)
        self.own_chunks = bytearray(count)

    def add(self, extent: Extent) -> None:
        """Count the next extent. Raises MapError when it does not follow the last one or leaves the disk."""
        end = extent.start + extent.length
        if extent.start != self._end or extent.length <= 0 or end > self.virtual_size:
            raise MapError(f"extent {extent.start}+{extent.length} after {self._end} of {self.virtual_size}")
        self._end = end
        self.extents += 1
        own = extent.depth == 0 and extent.present
        holds_data = extent.data and not extent.zero
        if own:
            self.coverage += extent.length
            self.guest_bytes += extent.length if holds_data else 0
            self._mark(self.own_chunks, extent.start, end)
        if holds_data and extent.offset is not None:
            self.file_ends[extent.depth] = max(self.file_ends.get(extent.depth, 0), extent.offset + extent.length)
        if holds_data:
            self._mark(self.data_chunks, extent.start, end)

    def _mark(self, chunks: bytearray, start: int, end: int) -> None:
        first, last = start // self.chunk, (end - 1) // self.chunk
        chunks[first : last + 1] = b"\1" * (last - first + 1)

    def close(self) -> LayerMap:
        """To be called after the last extent. Raises MapError when the end of the disk is missing."""
        if self._end != self.virtual_size:
            raise MapError(f"map ends at {self._end} of {self.virtual_size}")
        return self


def fold(lines: Iterable[str], virtual_size: int, chunk: int) -> LayerMap:
    """Return a whole map at once."""
    layer = LayerMap(virtual_size, chunk)
    for line in lines:
        extent = parse_line(line)
        if extent is not None:
            layer.add(extent)
    return layer.close()


def chunk_count(virtual_size: int, chunk: int) -> int:
    """Return how many chunks cover a disk of `virtual_size` bytes; the last may be shorter."""
    return -(-virtual_size // chunk)


def chunk_length(index: int, virtual_size: int, chunk: int) -> int:
    """Return the bytes of chunk `index`."""
    return min(chunk, virtual_size - index * chunk)


def marked(chunks: bytearray) -> Iterator[int]:
    """Return the indices of the marked chunks, ascending."""
    index = chunks.find(1)
    while index >= 0:
        yield index
        index = chunks.find(1, index + 1)


def runs(chunks: bytearray) -> Iterator[tuple[int, int]]:
    """(first, count) of each run of marked chunks, ascending."""
    first = chunks.find(1)
    while first >= 0:
        end = chunks.find(0, first)
        end = len(chunks) if end < 0 else end
        yield first, end - first
        first = chunks.find(1, end)


# 128 KiB clusters with extended L2 entries: 16 bytes an entry, 2 bytes a refcount, and the tables above them.
_CLUSTER = 128 << 10
_METADATA_PER_CLUSTER = 16 + 2 + 2
_METADATA_FIXED = 1 << 20


def worst_case_bytes(virtual_size: int) -> int:
    """Return the most that a full of a disk can take in the repository: every cluster, its metadata, its digests."""
    clusters = -(-virtual_size // _CLUSTER)
    digests = 32 * chunk_count(virtual_size, 4 << 20)
    return clusters * (_CLUSTER + _METADATA_PER_CLUSTER) + digests + _METADATA_FIXED
