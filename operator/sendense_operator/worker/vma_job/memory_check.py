"""Check that the pod has the memory that the disks need, before anything is read or copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sendense_operator.chain.memory_estimate import DiskLoad, describe_disks, estimate
from sendense_operator.worker.errors import Reason, WorkerError

_MIB: Final = 1 << 20


def limit(files: Iterable[Path]) -> int | None:
    """Return the container's memory limit in bytes; None if it has none or if it can't be read.

    `files`: the cgroup files that may hold it, of which the first readable one counts.
    """
    for file in files:
        try:
            text = file.read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        return int(text) if text.isdecimal() else None
    return None


def check_memory(disks: Sequence[DiskLoad], allowed: int | None) -> None:
    """Raise WorkerError MemoryExceeded if the disks need more than the `allowed` bytes (None: no limit)."""
    needed = estimate(disks)
    if allowed is not None and needed > allowed:
        raise WorkerError(
            Reason.MEMORY_EXCEEDED,
            f"about {-(-needed // _MIB)} MiB of memory are needed for {describe_disks(disks)}, but this pod has only "
            f"{allowed // _MIB} MiB, less than the operator requested: check LimitRanges and admission policies",
        )
