"""The controller is killed at any moment: one VMA job, the same end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support import chart
from tests.support.outcomes import PATIENCE, completed_with_one_start
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

pytestmark = pytest.mark.disruptive


@pytest.fixture
def ready(space: Workspace) -> Workspace:
    """All that a backup of twenty seconds needs, looked at by the controller."""
    space.ready(Disk("random", 12 * MIB), Disk("random", 8 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=MIB)
    return space


def _created(space: Workspace) -> None:
    until(space.get(), "no Backup")


def _job_is_there(space: Workspace) -> None:
    until(space.jobs(), space.status())


def _running(space: Workspace) -> None:
    jobs = space.vma.jobs()
    until(jobs and jobs[0]["bytes"], jobs)
    assert jobs[0]["completed"] == []


def _first_disk_done(space: Workspace) -> None:
    jobs = space.vma.jobs()
    until(jobs and jobs[0]["completed"], jobs)
    assert jobs[0]["completed"] == [0], "the second is still being copied"


def _committed(space: Workspace) -> None:
    folder = space.folders["repo"]
    until(folder.manifests(), folder.files())
    assert space.status()["phase"] == "Running", "nobody has reported it"


def _killed_at(space: Workspace, moment: Callable[[Workspace], None]) -> None:
    wait_for(moment.__name__.strip("_"), lambda: moment(space), timeout=PATIENCE, interval=0.05)
    chart.kill(space.kube, "controller")


def test_killed_again_and_again(ready: Workspace) -> None:
    """Before the worker runs, during the copy of each disk, and when the result is there but not yet in the status."""
    ready.backup()
    for moment in (_created, _job_is_there, _running, _first_disk_done, _committed):
        _killed_at(ready, moment)
    assert completed_with_one_start(ready)["attempts"] == 1
    assert len(ready.jobs()) == 1


@pytest.mark.parametrize("pods", ["stay", "are gone too"])
def test_away_while_the_worker_ends(ready: Workspace, pods: str) -> None:
    """The result waits in the pod; and where that is gone, in the repository."""
    ready.backup()
    ready.wait_copying(timeout=PATIENCE)
    with chart.scaled(ready.kube, "controller", 0):
        wait_for("the worker's end", lambda: _ended(ready), timeout=PATIENCE)
        if pods != "stay":
            for pod in ready.workers():
                ready.kube.delete("Pod", pod["metadata"]["name"], ready.namespace, grace=0)
    completed_with_one_start(ready)
    assert len(ready.folders["repo"].manifests()) == 1


def _ended(space: Workspace) -> None:
    """For the Job too: it has counted the pod."""
    (job,) = space.jobs()
    until(job["status"].get("succeeded"), job["status"])
