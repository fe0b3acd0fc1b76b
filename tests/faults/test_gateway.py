"""A gateway goes away while a backup runs: its callbacks find the other one, or the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.support import chart
from tests.support.kube import Kube
from tests.support.outcomes import PATIENCE, completed_with_one_start
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

pytestmark = pytest.mark.disruptive

GATEWAY = "gateway"


def _kill_all(kube: Kube) -> None:
    """For as long as none is there a `complete` would be lost: the next is due in ten seconds."""
    chart.kill(kube, GATEWAY)
    chart.wait_available(kube, GATEWAY)


@pytest.mark.parametrize(
    ("how", "rate"),
    [
        (partial(chart.kill, component=GATEWAY, count=1), MIB),
        (partial(chart.roll, component=GATEWAY), MIB),
        (_kill_all, MIB // 4),
    ],
    ids=["one is killed", "rolled", "all are killed between two calls"],
)
def test_gone_while_a_backup_runs(space: Workspace, how: Callable[[Kube], None], rate: int) -> None:
    space.ready(*(Disk("random", 6 * MIB) for _ in range(3)))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=rate)
    space.backup()
    job = str(space.wait_copying(timeout=PATIENCE)["job_id"])
    how(space.kube)
    if rate < MIB:
        space.vma.command(job, "rate", bytes_per_second=MIB)
    completed_with_one_start(space)
    chart.wait_available(space.kube, GATEWAY)
