"""A gateway goes away while a backup runs: its callbacks find the other one, or the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.support import chart
from tests.support.kube import Kube
from tests.support.outcomes import completed_with_one_start
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

pytestmark = pytest.mark.disruptive

GATEWAY = "gateway"


HELD = {"timeouts": {"stallSeconds": 300}}
"""For a copy that stands still until a gateway is there again."""


def _kill_all(kube: Kube) -> None:
    chart.kill(kube, GATEWAY)
    chart.wait_available(kube, GATEWAY)


@pytest.mark.parametrize(
    ("how", "held"),
    [
        (partial(chart.kill, component=GATEWAY, count=1), False),
        (partial(chart.roll, component=GATEWAY), False),
        # For as long as none is there a `complete` would be lost: it must not be due.
        (_kill_all, True),
    ],
    ids=["one is killed", "rolled", "all are killed between two calls"],
)
def test_gone_while_a_backup_runs(space: Workspace, how: Callable[[Kube], None], held: bool) -> None:
    space.ready(*(Disk("random", 6 * MIB) for _ in range(3)), appliance=HELD)
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=MIB // 2)
    space.backup()
    job = str(space.wait_copying()["job_id"])
    if held:
        space.vma.command(job, "pause")
    how(space.kube)
    if held:
        space.vma.command(job, "resume")
    completed_with_one_start(space)
    chart.wait_available(space.kube, GATEWAY)
