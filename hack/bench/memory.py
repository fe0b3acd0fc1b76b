"""What a worker needs for a disk in many layers, and for a very large one: in the operator's image, without a pod."""

from __future__ import annotations

from typing import Final

from tests.support import images, programs
from tests.support.kube import CHECKOUT
from tests.support.workspace import Workspace

_GIB: Final = 1 << 30
_SOURCE: Final = "/src"


def worker(space: Workspace) -> dict[str, float]:
    """Return most megabytes resident in a worker and its programs."""
    return {
        "worker_mb_depth31": _measure(space, 256 * _GIB, 31, _GIB),
        "worker_mb_64tib": _measure(space, 64 << 40, 1, 1 << 40),
    }


def _measure(space: Workspace, virtual_size: int, depth: int, step: int) -> float:
    reported = programs.engine(
        *("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "python3"),
        *("--volume", f"{CHECKOUT}:{_SOURCE}:ro", "--env", f"PYTHONPATH={_SOURCE}/operator:/opt/sendense"),
        *(images.operator_image(space), f"{_SOURCE}/hack/bench/layers.py", str(virtual_size), str(depth), str(step)),
        timeout=900,
    )
    return float(reported.strip().splitlines()[-1])
