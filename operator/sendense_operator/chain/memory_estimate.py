"""Estimate of the memory that a worker needs, from the number of disks, their sizes and their layers. No I/O.

The constants are upper bounds of measurements (`make bench`, `worker_mb_…`) with the cache sizes of
`worker/images/qemu_tools.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TIB: Final = 1 << 40

_PROGRAM: Final = 96 * _MIB
"""Python with its libraries (56 MiB), vCenter's list of VMs, and the chunks of four readers."""
_TRANSFER: Final = 128 * _MIB
"""Requests in flight for the disk that is being copied: three of 32 MiB each, and what the allocator caches."""
_SERVER: Final = 12 * _MIB
"""One QEMU process (8 MiB), and the L2 cache of the layer that it writes (4 MiB)."""
_LAYER: Final = _MIB
"""Per layer that a process opens; 0.75 MiB were measured with full caches."""
_L1_PER_GIB: Final = 8
"""Bytes of a layer's L1 table per GiB of the disk: an entry describes 1 GiB."""
_CHECK_PER_TIB: Final = 17 * _MIB
"""`qemu-img check` counts the references to each cluster of a layer's file, which is at worst as large as the disk."""
_MAPS_PER_TIB: Final = 2 * _MIB
"""Up to eight maps of one byte per chunk of 4 MiB."""
_COMPARED: Final = 36 * _MIB
"""Second chunks of four readers, and their writes of up to 1 MiB, beside what is counted for the program."""
_COMPARING: Final = 3
"""Servers of a compaction: the increment, its parent, and the new layer."""
_COMPARED_MAPS_PER_TIB: Final = 2 * _MIB
"""As above: those of the compacted layer."""


@dataclass(frozen=True)
class DiskLoad:
    """One disk: its `virtual_size` in bytes, and the number of `layers` of its stack, the new one included."""

    virtual_size: int
    layers: int


def estimate(disks: Sequence[DiskLoad]) -> int:
    """Return the bytes that a worker needs: the most of all exports together, one proof, and one compaction."""
    copying = _TRANSFER + sum(map(_server, disks))
    proving = max(map(_proof, disks), default=0)
    comparing = max((_comparison(disk) for disk in disks if disk.layers > 1), default=0)
    return _PROGRAM + max(copying, proving, comparing)


def describe_disks(disks: Sequence[DiskLoad]) -> str:
    """Return the input of an estimate as text for a message. `disks` must not be empty."""
    largest, deepest = max(disk.virtual_size for disk in disks), max(disk.layers for disk in disks)
    return f"{len(disks)} disks of up to {largest / _GIB:.0f} GiB in up to {deepest} layers"


def _server(disk: DiskLoad) -> int:
    return _SERVER + disk.layers * (_LAYER + disk.virtual_size * _L1_PER_GIB // _GIB)


def _proof(disk: DiskLoad) -> int:
    return max(_server(disk), _check(disk)) + disk.virtual_size * _MAPS_PER_TIB // _TIB


def _comparison(disk: DiskLoad) -> int:
    return _COMPARED + _COMPARING * _server(disk) + disk.virtual_size * (_MAPS_PER_TIB + _COMPARED_MAPS_PER_TIB) // _TIB


def _check(disk: DiskLoad) -> int:
    return disk.virtual_size * _CHECK_PER_TIB // _TIB
