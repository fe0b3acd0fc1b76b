"""What a worker needs for a disk in many layers, and how fast it verifies, compacts, merges, restores: in the image."""

from __future__ import annotations

from itertools import chain
from typing import Final

from tests.support import images, programs
from tests.support.kube import CHECKOUT
from tests.support.workspace import Workspace

from sendense_operator.task import ALLOCATOR

_GIB: Final = 1 << 30
_SOURCE: Final = "/src"
_FOLDER: Final = "/bench"
"""A volume of its own: on the disk, not in the container's layers."""
_RUNS: Final = 5
_LAYERS: Final = 8


def worker(space: Workspace) -> dict[str, float]:
    """Return most megabytes resident in a worker and its programs."""
    return {
        "worker_mb_depth31": _run(space, "layers.py", 256 * _GIB, 31, _GIB)[0],
        "worker_mb_64tib": _run(space, "layers.py", 64 << 40, 1, 1 << 40)[0],
    }


def verification(space: Workspace) -> dict[str, float]:
    """Return the speed of a verification of content against that of `qemu-img convert`."""
    verify, convert = _run(space, "verifying.py", 4 * _GIB, _RUNS)
    return {"verify_ratio": convert / verify, "verify_seconds": verify}


def compaction(space: Workspace) -> dict[str, float]:
    """Return the speed of a compaction against that of reading what it compares, and its memory."""
    compact, read, megabytes = _run(space, "compacting.py", 2 * _GIB, _RUNS)
    return {"compaction_ratio": read / compact, "compaction_seconds": compact, "compaction_mb": megabytes}


def merging(space: Workspace) -> dict[str, float]:
    """Return the speed of merges against that of a copy, that of reading what they make, and their memory."""
    increments, full = _chunked(_run(space, "merging.py", _GIB, 1 << 20, _RUNS), 5)
    numbers = dict[str, float]()
    for name, (merge, copy, merged, fresh, megabytes) in (("", increments), ("_full", full)):
        numbers |= {
            f"merge{name}_ratio": copy / merge,
            f"merge{name}_seconds": merge,
            f"merge{name}_mb": megabytes,
            f"merge{name}_read_ratio": fresh / merged,
        }
    return numbers


def lasting(space: Workspace) -> dict[str, float]:
    """Return what consolidation writes, and what becomes of a chain, over many increments."""
    gross, net, stored, depth, read = _run(space, "lasting.py", _GIB, 40, 7)
    return {
        "merge_write_factor": gross,
        "merge_net_write_factor": net,
        "lasting_stored_ratio": stored,
        "lasting_depth": depth,
        "lasting_read_ratio": read,
    }


def _chunked(numbers: list[float], count: int) -> list[list[float]]:
    return [numbers[at : at + count] for at in range(0, len(numbers), count)]


def restore(space: Workspace) -> dict[str, float]:
    """Return the speed of a restore against that of `qemu-img convert`, and what its worker needs."""
    convert, whole, copy, deep, apart, megabytes = _run(space, "restoring.py", 4 * _GIB, _RUNS, _LAYERS)
    return {
        "restore_ratio": convert / whole,
        "restore_copy_ratio": convert / copy,
        "restore_depth8_ratio": whole / deep,
        "restore_node_ratio": convert / apart,
        "restore_seconds": whole,
        "restore_mb": megabytes,
    }


def _run(space: Workspace, script: str, *arguments: int) -> list[float]:
    """Run a script of this folder in the image, and return the numbers in its last line."""
    reported = programs.engine(
        *("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "python3"),
        *("--volume", f"{CHECKOUT}:{_SOURCE}:ro", "--env", f"PYTHONPATH={_SOURCE}/operator:{_SOURCE}:/opt/sendense"),
        *("--volume", _FOLDER, "--env", f"BENCH_FOLDER={_FOLDER}"),
        *chain.from_iterable(("--env", f"{name}={value}") for name, value in ALLOCATOR.items()),
        *(images.operator_image(space), f"{_SOURCE}/hack/bench/{script}", *map(str, arguments)),
        timeout=900,
    )
    return [float(number) for number in reported.strip().splitlines()[-1].split()]
