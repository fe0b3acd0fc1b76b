"""The memory that this pod has: compared with what the disks need before anything is read or copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sendense_operator.chain.memory_estimate import DiskLoad, describe_disks, estimate
from sendense_operator.worker.errors import Reason, WorkerError

_MIB: Final = 1 << 20


def limit(files: Iterable[Path]) -> int | None:
    """Return the bytes that the container may use; None where nothing bounds it, or nobody says so."""
    for file in files:
        try:
            text = file.read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        return int(text) if text.isdecimal() else None
    return None


def check_memory(disks: Sequence[DiskLoad], allowed: int | None) -> None:
    """Raise WorkerError MemoryExceeded, with the numbers, where the disks need more than is `allowed`."""
    needed = estimate(disks)
    if allowed is not None and needed > allowed:
        raise WorkerError(
            Reason.MEMORY_EXCEEDED,
            f"about {-(-needed // _MIB)} MiB of memory are needed for {describe_disks(disks)}, this pod has "
            f"{allowed // _MIB} MiB: something gave it less than the operator requested (a LimitRange, a policy)",
        )
