"""Ranges of a disk that are made of chunks. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.answer import MOST_DAMAGED_RANGES, DamagedRange, RestoredDisk
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import chunk_length, runs
from sendense_operator.worker.restore.restore_wording import mebibytes_needed


def bytes_of(wanted: bytearray, chunks: Chunks) -> int:
    """Return the bytes of the marked chunks."""
    if not wanted:
        return 0
    last = len(wanted) - 1
    short = chunks.chunk - chunk_length(last, chunks.virtual_size, chunks.chunk) if wanted[last] else 0
    return wanted.count(1) * chunks.chunk - short


def ranges_of(damaged: bytearray, chunks: Chunks) -> tuple[DamagedRange, ...]:
    """Return the ranges of the marked chunks; adjacent chunks are one range."""
    return tuple(
        DamagedRange(
            offset=first * chunks.chunk,
            length=min(count * chunks.chunk, chunks.virtual_size - first * chunks.chunk),
        )
        for first, count in runs(damaged)
    )


def restored_disk(index: int, data: int, written: int, ranges: Sequence[DamagedRange]) -> RestoredDisk:
    """Return the result of a disk; `data` and `written` in bytes."""
    return RestoredDisk(
        index=index,
        data_bytes=data,
        written_bytes=written,
        damaged_bytes=sum(item.length for item in ranges),
        damaged=tuple(ranges[:MOST_DAMAGED_RANGES]),
    )


def describe_damage_left(results: Sequence[tuple[RestoredDisk, int]]) -> str:
    """Return a sentence about the disks with damaged ranges, empty if there are none. Of each: result, ranges."""
    parts = []
    for disk, count in results:
        if count:
            what = "1 range" if count == 1 else f"{count} ranges"
            verb = "was damaged and is" if count == 1 else "were damaged and are"
            parts.append(f"disk {disk.index}: {what} ({mebibytes_needed(disk.damaged_bytes)}) {verb} zeroes")
    return "; ".join(parts)
