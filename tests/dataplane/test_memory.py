"""What a worker needs does not grow with depth times size: what `make bench` measures, on a smaller scale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.dataplane.host import CHECKOUT, python_path

from sendense_operator.chain.memory_estimate import DiskLoad, estimate

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "depth", "step", "most"),
    # With unbounded caches the first needs 200 MB, with digest lists in memory the second 300.
    [(64 * GIB, 12, GIB, 160), (16384 * GIB, 1, 1024 * GIB, 170)],
    ids=["deep", "large"],
)
def test_a_worker_stays_small(tmp_path: Path, size: int, depth: int, step: int, most: int) -> None:
    command = [sys.executable, str(CHECKOUT / "hack/bench/layers.py"), str(size), str(depth), str(step)]
    environment = os.environ | {"PYTHONPATH": python_path("operator"), "BENCH_FOLDER": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    megabytes = float(done.stdout)
    assert 30 < megabytes < most
    assert megabytes * 1e6 < estimate([DiskLoad(size, depth)])
