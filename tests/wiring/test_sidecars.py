"""Pods to which somebody added a container: only the worker counts, and its end frees what it took."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wiring.rig import Rig
from tests.wiring.test_lifecycle import over
from tests.wiring.world import Ending

from sendense_operator.cluster import kinds


def with_container(how: str, *endings: Ending, **spec: Any) -> Rig:
    rig = Rig()
    rig.world.beside = how
    rig.world.endings["b1"] = list(endings)
    rig.create_references()
    rig.create_backup(**spec)
    return rig


@pytest.mark.parametrize("how", ["fails", "stays"])
@pytest.mark.parametrize(
    ("endings", "phase", "jobs"),
    [
        ([Ending.COMPLETE], "Completed", 1),
        ([Ending.FAIL, Ending.COMPLETE], "Completed", 1),
        ([Ending.FATAL], "Failed", 1),
        ([Ending.FAIL] * 3, "Failed", 1),
        ([Ending.COMMIT_AND_DIE], "Completed", 1),
    ],
)
async def test_the_worker_decides_and_its_job_ends(how: str, endings: list[Ending], phase: str, jobs: int) -> None:
    rig = with_container(how, *endings, retries=2)
    await rig.run(over(rig), seconds=300)
    assert rig.phase() == phase
    assert len(rig.world.jobs()) == jobs
    await rig.settle(seconds=60)
    assert rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")["status"]["activeBackups"] == 0
    assert not [pod for pod in rig.world.cluster.all(kinds.POD) if pod["status"]["phase"] == "Running"]


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.FATAL])
async def test_a_controller_that_starts_anew_frees_it_as_well(ending: Ending) -> None:
    rig = with_container("stays", ending)
    await rig.run(lambda: rig.is_over("b1"), seconds=120)
    rig.restart()
    await rig.run(over(rig), seconds=120)
    assert not [pod for pod in rig.world.cluster.all(kinds.POD) if pod["status"]["phase"] == "Running"]


async def test_the_answer_is_read_by_a_controller_that_did_not_see_the_end() -> None:
    rig = with_container("stays", Ending.FATAL)
    await rig.run(lambda: bool(rig.world.started), seconds=60)
    for _ in range(30):
        rig.world.step()
    rig.restart()
    await rig.run(over(rig), seconds=120)
    assert rig.phase() == "Failed"
    assert rig.reason() != "WorkerDied"
