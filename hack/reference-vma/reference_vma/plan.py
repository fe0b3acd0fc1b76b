"""Which pieces a disk is copied in, and where a full copy looks for zeroes: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final

from reference_vma.cbt import Area

SECTOR: Final = 512
SAMPLE: Final = 8 << 10
SAMPLES: Final = 5
MIN_BLOCK: Final = 4 << 20
MAX_BLOCK: Final = 32 << 20
_BLOCKS_WANTED: Final = 64


def block_size(virtual_size: int) -> int:
    """Return the size of the blocks that a full copy of a disk judges: a power of two from 4 to 32 MiB."""
    block = MIN_BLOCK
    while block < MAX_BLOCK and block * _BLOCKS_WANTED < virtual_size:
        block *= 2
    return block


def plan_full(virtual_size: int, workers: int) -> list[list[Area]]:
    """Return the blocks of each worker. Workers' ranges are aligned to 512 bytes, blocks to nothing better."""
    block = block_size(virtual_size)
    edges = [virtual_size * worker // workers // SECTOR * SECTOR for worker in range(workers)] + [virtual_size]
    return [[(at, min(block, end - at)) for at in range(start, end, block)] for start, end in pairwise(edges)]


def sample_offsets(block: Area) -> list[int]:
    """Return where a block's five samples of 8 KiB begin, evenly spread from its start to its end."""
    offset, length = block
    if length <= SAMPLE * SAMPLES:
        return [offset + at for at in range(0, length, SAMPLE)]
    return [offset + (length - SAMPLE) * sample // (SAMPLES - 1) for sample in range(SAMPLES)]


def looks_empty(read: Callable[[int, int], bytes], block: Area) -> bool:
    """Return whether all samples of a block are zeroes; `read` takes a count and an offset."""
    end = sum(block)
    return not any(any(read(min(SAMPLE, end - offset), offset)) for offset in sample_offsets(block))


def is_empty(read: Callable[[int, int], bytes], block: Area) -> bool:
    """Return whether a block is zeroes all over."""
    return not any(any(read(length, offset)) for offset, length in split([block], MIN_BLOCK))


def split(areas: Iterable[Area], size: int) -> Iterator[Area]:
    """Yield areas in pieces of at most `size` bytes."""
    for offset, length in areas:
        for at in range(0, length, size):
            yield offset + at, min(size, length - at)
