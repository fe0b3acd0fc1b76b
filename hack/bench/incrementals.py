"""What an increment costs: 5% of a disk changed in three ways.

Times are taken with the appliance's client at RATE, which is what the real one makes; those `unlimited` at what the
machine gives, where a full is so quick that the fixed cost of any backup counts for more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.support import images
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

RATE: Final = 230 * MIB
"""Bytes a second of the real appliance's client."""
_SIZE: Final = 4096 * MIB
_CHANGED: Final = _SIZE // 20
_EDGE: Final = 2 * MIB
"""Left alone at both ends of the disk: what is sent must not be the whole disk, which would be a full."""
_VM: Final = "changing"

Range = tuple[int, int]


def increments(space: Workspace) -> dict[str, float]:
    """Return ratios of the bytes stored, sent and changed, and an increment's time against a full's."""
    space.add_vm(_VM, Disk("pattern", _SIZE, (("data_fraction", 0.58),)), track=True)
    space.wait_ready(_VM, "ProtectedVM")
    with _limited(space):
        full, _ = _backup(space, "full", type="Full")
        runs, reported = _increment(space, "runs", long_runs("runs"))
    numbers = {"incremental_ratio": runs / full, "full_seconds": full, "incremental_seconds": runs}
    numbers |= _ratios(space, "runs", reported)
    for name, size in (("64k", 64 << 10), ("4k", 4 << 10)):
        _, reported = _increment(space, name, scattered(size, name))
        numbers |= _ratios(space, name, reported)
    full, _ = _backup(space, "full-unlimited", type="Full")
    runs, _ = _increment(space, "runs-unlimited", long_runs("again"))
    images.assert_identical(space, "runs-unlimited", vm=_VM)
    return {**numbers, "incremental_ratio_unlimited": runs / full}


def long_runs(seed: str, virtual_size: int = _SIZE, changed: int = _CHANGED) -> list[Range]:
    """Runs of 1 to 8 MiB, together `changed` bytes, one in each of as many equal parts of the disk."""
    choose = random.Random(seed)
    lengths: list[int] = []
    while (left := changed - sum(lengths)) > 0:
        lengths.append(min(left, choose.randrange(MIB, 8 * MIB, 4096)))
    part = (virtual_size - 2 * _EDGE) // len(lengths)
    return [(_EDGE + n * part + choose.randrange(0, part - length, 4096), length) for n, length in enumerate(lengths)]


def scattered(length: int, seed: str, virtual_size: int = _SIZE, changed: int = _CHANGED) -> list[Range]:
    """Ranges of one length at multiples of it anywhere on the disk, none twice."""
    places = range(_EDGE // length, (virtual_size - _EDGE) // length)
    return [(place * length, length) for place in sorted(random.Random(seed).sample(places, changed // length))]


def change(space: Workspace, vm: str, ranges: list[Range], seed: str) -> None:
    """Write noise there; what the appliance's change tracking costs is no part of a backup."""
    space.vma.write(vm, ranges=ranges, seed=seed)
    space.vma.track(vm)


@contextmanager
def _limited(space: Workspace) -> Iterator[None]:
    """The appliance's clients are as fast as the real one."""
    fault = space.vma.fault("client", "rate", bytes_per_second=RATE, count=0)
    try:
        yield
    finally:
        space.vma.clear_faults(fault)


def _backup(space: Workspace, name: str, **spec: Any) -> tuple[float, dict[str, Any]]:
    """Return the seconds from apply to Completed, and the status."""
    started = time.monotonic()
    space.backup(name, vm=_VM, **spec)
    status = space.wait_phase("Completed", name, timeout=600)
    return time.monotonic() - started, status


def _increment(space: Workspace, name: str, ranges: list[Range]) -> tuple[float, dict[str, Any]]:
    change(space, _VM, ranges, name)
    seconds, status = _backup(space, name, type="Incremental")
    assert status["type"] == "Incremental", status["disks"]
    return seconds, status


def _ratios(space: Workspace, name: str, status: dict[str, Any]) -> dict[str, float]:
    (sent,) = (job["bytes"] for job in space.vma.jobs() if job["job_id"] == status["jobID"])
    stored = status["storedBytes"]
    return {
        f"stored_ratio_{name}": stored / sent,
        f"sent_ratio_{name}": sent / _CHANGED,
        f"compacted_ratio_{name}": stored / _CHANGED,
    }
