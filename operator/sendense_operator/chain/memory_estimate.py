"""How much memory a worker needs, estimated before the copy from what it grows with: disks, their sizes, their layers.

Upper bounds of what was measured with the bounds of `worker/images/qemu_tools.py`: `make bench`, `worker_mb_…`. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TIB: Final = 1 << 40

_PROGRAM: Final = 96 * _MIB
"""Python with its libraries (56), a vCenter's list of VMs, the chunks that four readers hold."""
_TRANSFER: Final = 128 * _MIB
"""Requests in flight of the disk that is being copied: three of 32 MiB each, and what the allocator keeps of them."""
_SERVER: Final = 12 * _MIB
"""One qemu program (8) and the L2 cache of the layer that it writes (4)."""
_LAYER: Final = _MIB
"""Of each layer that it opens: 0.75 were measured with full caches."""
_L1_PER_GIB: Final = 8
"""Bytes of each layer's L1 table; an entry stands for 1 GiB."""
_CHECK_PER_TIB: Final = 17 * _MIB
"""`qemu-img check` counts the references to each cluster of a layer's file, which is as large as its disk at worst."""
_MAPS_PER_TIB: Final = 2 * _MIB
"""One byte for each chunk of 4 MiB in each of up to eight maps."""


@dataclass(frozen=True)
class DiskLoad:
    """One disk: `virtual_size` in bytes, and how many layers will be read through its new one, itself counted."""

    virtual_size: int
    layers: int


def estimate(disks: Sequence[DiskLoad]) -> int:
    """Return the bytes a worker needs for these disks: all exports at once, or the most expensive proof."""
    copying = _TRANSFER + sum(map(_server, disks))
    proving = max(map(_proof, disks), default=0)
    return _PROGRAM + max(copying, proving)


def describe_disks(disks: Sequence[DiskLoad]) -> str:
    """Return the numbers that an estimate comes from, for a message."""
    largest, deepest = max(disk.virtual_size for disk in disks), max(disk.layers for disk in disks)
    return f"{len(disks)} disks of up to {largest / _GIB:.0f} GiB in up to {deepest} layers"


def _server(disk: DiskLoad) -> int:
    return _SERVER + disk.layers * (_LAYER + disk.virtual_size * _L1_PER_GIB // _GIB)


def _proof(disk: DiskLoad) -> int:
    return max(_server(disk), _check(disk)) + disk.virtual_size * _MAPS_PER_TIB // _TIB


def _check(disk: DiskLoad) -> int:
    return disk.virtual_size * _CHECK_PER_TIB // _TIB
