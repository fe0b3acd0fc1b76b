"""The files that a Restore writes into a claim: their names, and the most bytes that they can have. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sendense_operator.chain import vmdk
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import FileFormat

QCOW2_CLUSTER: Final = 64 << 10
"""Cluster size of a QCOW2 file: QEMU's own default, which every reader takes."""
DESCRIPTOR_ROOM: Final = 1 << 20
"""More bytes than the descriptor, the manifest and the headers of an OVA have."""
_SUFFIXES: Final = {
    FileFormat.RAW: ".raw",
    FileFormat.QCOW2: ".qcow2",
    FileFormat.VMDK: ".vmdk",
    FileFormat.OVA: ".vmdk",
}
_LONGEST_STEM: Final = 80
"""Characters of a name without its end, so that it fits into the 100 of a tar header."""
_DIGITS: Final = 8


@dataclass(frozen=True)
class DiskData:
    """How much of a disk is to be written."""

    virtual_size: int
    data_bytes: int
    """Bytes of the chunks that are not known to be zeroes."""
    data_chunks: int
    """Number of these chunks."""

    @classmethod
    def full(cls, virtual_size: int) -> DiskData:
        """Return a disk of which every byte may be data."""
        return cls(virtual_size, virtual_size, Chunks(virtual_size, CHUNK).count)


def stem(vm: str, backup: str) -> str:
    """Return what the names of all files of a restore point begin with. A long one ends in a digest instead."""
    whole = f"{vm}-{backup}"
    if len(whole) <= _LONGEST_STEM:
        return whole
    digest = hashlib.sha256(f"{vm}\0{backup}".encode()).hexdigest()[:_DIGITS]
    return f"{whole[: _LONGEST_STEM - _DIGITS - 1].rstrip('-')}-{digest}"


def disk_file(vm: str, backup: str, index: int, kind: FileFormat) -> str:
    """Return the name of the file of a disk; for an OVA that of the disk in it."""
    return f"{stem(vm, backup)}-disk-{index}{_SUFFIXES[kind]}"


def archive_file(vm: str, backup: str) -> str:
    """Return the name of an OVA."""
    return f"{stem(vm, backup)}.ova"


def claim_file(vm: str, backup: str, index: int, kind: FileFormat) -> str:
    """Return the name of the file in the claim that holds a disk."""
    return archive_file(vm, backup) if kind is FileFormat.OVA else disk_file(vm, backup, index, kind)


def most_bytes(disks: Sequence[DiskData], kind: FileFormat) -> int:
    """Return the most bytes that the files of these disks occupy together, whatever can't be compressed included."""
    together = sum(_most_of_disk(disk, kind) for disk in disks)
    return together + (DESCRIPTOR_ROOM if kind is FileFormat.OVA else 0)


def _most_of_disk(disk: DiskData, kind: FileFormat) -> int:
    match kind:
        case FileFormat.RAW:
            return disk.data_bytes
        case FileFormat.QCOW2:
            return _most_of_qcow2(disk)
        case _:
            return vmdk.most_bytes(disk.virtual_size, disk.data_bytes, disk.data_chunks)


def _most_of_qcow2(disk: DiskData) -> int:
    """Return data, and the tables for it: an L2 table per 512 MiB with data, the L1 table, and refcounts."""
    reach = QCOW2_CLUSTER // 8 * QCOW2_CLUSTER
    directory = _up(disk.virtual_size, reach)
    tables = min(disk.data_chunks, directory) + _up(directory * 8, QCOW2_CLUSTER)
    clusters = _up(disk.data_bytes, QCOW2_CLUSTER) + 1 + tables + 3
    counted = QCOW2_CLUSTER // 2
    """Clusters that a refcount block counts."""
    blocks = _up(clusters, counted) + 1
    return (clusters + blocks + _up(blocks * 8, QCOW2_CLUSTER)) * QCOW2_CLUSTER


def _up(count: int, unit: int) -> int:
    return -(-count // unit)
