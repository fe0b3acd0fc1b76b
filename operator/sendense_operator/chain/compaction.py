"""Compaction of increments: whether it is worth its reads, and what of a chunk differs from the parent. No I/O.

The appliance sends whole blocks, and joins changes that are close to each other. A layer needs only the subclusters
(4 KiB) that differ from its parent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from blake3 import blake3

BLOCK: Final = 4 << 10
"""Bytes that are compared at once and stored or left out: a subcluster of the operator's layers."""
LEAST_GAIN: Final = 1 << 20
"""Bytes of data of an increment below which a compaction is never worth its reads and its start."""
MOST_READ: Final = 64
"""Bytes of chunks that may be read per byte that may be saved. Changes of 64 KiB, the blocks of VMware's change
tracking, in chunks of their own are just within it."""
SPARE: Final = 16 << 20
"""Bytes for the metadata of the second layer, beside the data."""
_WINDOW: Final = 64 << 10
"""Bytes that are compared first: most of what is received equals the parent."""
_ZEROES: Final = memoryview(bytes(BLOCK))
_NUMBER: Final = struct.Struct("<Q")
_RANGE: Final = struct.Struct("<QQ")

Content = bytes | bytearray
"""Content of a chunk. `startswith` compares parts by memcmp without a copy; a memoryview has no such method."""


class CompactionResult(StrEnum):
    """What became of the compaction of an increment; users see it in the status of a Backup's disk."""

    COMPACTED = "Compacted"
    """The layer holds only what differs from its parent."""
    NOT_SMALLER = "NotSmaller"
    """The layer is stored as received: all of it differs from its parent."""
    NOT_WORTH_IT = "NotWorthIt"
    """The layer is stored as received: too little could be saved for what would have to be read."""
    NO_ROOM = "NoRoom"
    """The layer is stored as received: there was no room for a second one beside it."""
    FAILED = "Failed"
    """The layer is stored as received, because its compaction failed; the worker's log says why."""
    NEVER = "Never"
    """The layer is stored as received, as spec.compaction of the BackupChain says."""


@dataclass(frozen=True)
class Received:
    """An increment as received; sizes in bytes."""

    guest_bytes: int
    """Data in it, without zeroes: what can be saved at most."""
    touched_bytes: int
    """Length of all chunks in which it defines something."""
    stored_bytes: int
    """Bytes that it occupies."""


def decide_compaction(received: Received, free: int, min_free: int) -> CompactionResult | None:
    """Return why an increment is not compacted, None if it is.

    `free`: free bytes of the repository, of which `min_free` must stay. A compaction reads the touched chunks once more
    than the digests do, from the parent, and what it has written, as its proof.
    """
    if received.guest_bytes < LEAST_GAIN or received.touched_bytes > MOST_READ * received.guest_bytes:
        return CompactionResult.NOT_WORTH_IT
    if not has_room(free, min_free, received.stored_bytes):
        return CompactionResult.NO_ROOM
    return None


def has_room(free: int, min_free: int, needed: int) -> bool:
    """Return whether `needed` bytes and their metadata fit into `free` bytes of which `min_free` must stay."""
    return free - needed - SPARE >= min_free


@dataclass(frozen=True, slots=True)
class Difference:
    """A run of blocks that differ from the parent; positions in bytes from the start of the chunk."""

    start: int
    end: int
    is_zero: bool
    """Whether it is now all zeroes."""


def find_differences(new: Content, old: Content) -> Iterator[Difference]:
    """Yield where `new` differs from `old`, in ascending order, as the longest runs of one kind.

    Both are the same chunk, and equally long; its last block may be shorter. Raises ValueError if they are not.
    """
    if len(new) != len(old):
        raise ValueError(f"chunks of {len(new)} and {len(old)} bytes")
    run: Difference | None = None
    for block in _differing_blocks(new, old):
        if run is not None and run.end == block.start and run.is_zero == block.is_zero:
            run = Difference(run.start, block.end, run.is_zero)
            continue
        if run is not None:
            yield run
        run = block
    if run is not None:
        yield run


def _differing_blocks(new: Content, old: Content) -> Iterator[Difference]:
    if new == old:
        return
    before = memoryview(old)
    for window in range(0, len(new), _WINDOW):
        last = min(window + _WINDOW, len(new))
        if new.startswith(before[window:last], window):
            continue
        for start in range(window, last, BLOCK):
            end = min(start + BLOCK, last)
            if not new.startswith(before[start:end], start):
                yield Difference(start, end, new.startswith(_ZEROES[: end - start], start))


def is_complete(new: Content, old: Content, differences: Iterable[Difference]) -> bool:
    """Return whether `new` equals `old` outside of the differences, which are in ascending order."""
    before, at = memoryview(old), 0
    for run in differences:
        if not new.startswith(before[at : run.start], at):
            return False
        at = run.end
    return new.startswith(before[at:], at)


def fingerprint(chunk: int, runs: Iterable[tuple[int, int]], content: Content, at: int = 0) -> int:
    """Return a number that stands for what a layer defines in the chunk with index `chunk`; 0: nothing.

    `runs`: start and end of what is defined, in bytes from the start of the chunk, in ascending order; it does not
    matter whether runs that touch are one. `content` begins at byte `at` of the chunk and holds all runs. The sum over
    all chunks stands for the whole layer, in whichever order they are added.
    """
    defined = list(joined(runs))
    if not defined:
        return 0
    found, view = blake3(_NUMBER.pack(chunk)), memoryview(content)
    for start, end in defined:
        found.update(_RANGE.pack(start, end))
        found.update(view[start - at : end - at])
    return int.from_bytes(found.digest())


def joined(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs that are in ascending order, those that touch as one."""
    before: tuple[int, int] | None = None
    for start, end in runs:
        if before is not None and before[1] == start:
            before = before[0], end
            continue
        if before is not None:
            yield before
        before = start, end
    if before is not None:
        yield before
