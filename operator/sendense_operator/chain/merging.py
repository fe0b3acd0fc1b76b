"""Merging of layers: what the merged layer has to hold of a chunk, how it is read, and how large it gets. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sendense_operator.chain.manifest import ManifestDisk

BASE_ZERO: Final = 2
"""Flag in the context `base:allocation` of a range that reads as zeroes."""
_MOST_GAP: Final = 64 << 10
"""Bytes between two runs that are read with them: reading them takes less time than a further request."""


class Status(NamedTuple):
    """What a server says of a range of the disk; positions in bytes. Made by the million, so no dataclass."""

    start: int
    end: int
    depth: int
    """Number of the uppermost layer that defines it, from 1 on; 0: none does."""
    is_zero: bool
    """Whether it is known to read as zeroes."""


class Run(NamedTuple):
    """A range that the merged layers define, of one kind; positions in bytes."""

    start: int
    end: int
    is_zero: bool
    """Whether it is all zeroes."""


def join_contexts(start: int, end: int, zeroes: Sequence[int], depths: Sequence[int]) -> Iterator[Status]:
    """Yield what is known of the range from `start` to `end`, as far as both answers go.

    Each answer has length and value of each extent in turn. `zeroes`: flags of `base:allocation`. `depths`: values of
    `qemu:allocation-depth`. The server answers each context as far as it likes.
    """
    stops = min(start + sum(zeroes[::2]), start + sum(depths[::2]), end)
    flags, numbers = _ends(start, zeroes), _ends(start, depths)
    zero_end = depth_end = start
    value = depth = 0
    while start < stops:
        if zero_end == start:
            zero_end, value = next(flags)
        if depth_end == start:
            depth_end, depth = next(numbers)
        stop = min(zero_end, depth_end, stops)
        if stop > start:
            yield Status(start, stop, depth, bool(value & BASE_ZERO))
        start = stop


def _ends(start: int, extents: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield end and value of each extent."""
    for length, value in zip(extents[::2], extents[1::2], strict=True):
        start += length
        yield start, value


def defined_runs(statuses: Iterable[Status], layers: int) -> Iterator[Run]:
    """Yield what the uppermost `layers` layers define, in ascending order, as the longest runs of one kind.

    `statuses` must follow each other without gaps.
    """
    first = end = 0
    kind: bool | None = None
    for start, stop, depth, is_zero in statuses:
        found = is_zero if 0 < depth <= layers else None
        if found is kind:
            end = stop
            continue
        if kind is not None:
            yield Run(first, end, kind)
        first, end, kind = start, stop, found
    if kind is not None:
        yield Run(first, end, kind)


def read_groups(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Yield the runs of data in groups that are read with one request each; runs of zeroes are left out."""
    group = list[Run]()
    for run in runs:
        if run.is_zero:
            continue
        if group and run.start - group[-1].end > _MOST_GAP:
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def estimate_merge(stack: Sequence[ManifestDisk], removed: int) -> int:
    """Return the most bytes that the merged layer occupies: those of the layers that become one.

    `stack`: the disk's layer and all layers below, top first; `removed`: number of layers below the first one that
    become part of it. `chain.compaction.has_room` adds what the metadata may take besides.
    """
    return sum(disk.stored_bytes for disk in stack[: removed + 1])
