"""The controller and the gateway are killed at any moment: one VMA job, same end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support import chart, images
from tests.support.kube import Kube
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

pytestmark = pytest.mark.disruptive

SLOW = 2 * MIB


def kill(kube: Kube, component: str, *, all_of_them: bool = True) -> None:
    """SIGKILL as far as the API can: no time to say good-bye."""
    for pod in chart.pods(kube, component)[: None if all_of_them else 1]:
        kube.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)


def wait_available(kube: Kube, component: str) -> None:
    """Until the program is back in full."""

    def probe() -> None:
        deployment = chart.only(kube, "Deployment", component)
        status = deployment["status"]
        wanted = deployment["spec"]["replicas"]
        until(status.get("availableReplicas") == status.get("replicas") == wanted, status)

    wait_for(f"{component} available", probe, timeout=120)


def _created(space: Workspace) -> None:
    until(space.get(), "no Backup")


def _job_is_there(space: Workspace) -> None:
    until(space.jobs(), space.status())


def _copying(space: Workspace) -> None:
    space.wait_copying()


def _first_disk_done(space: Workspace) -> None:
    until([job for job in space.vma.jobs() if job["completed"]], space.vma.jobs())


def _all_disks_done(space: Workspace) -> None:
    until([job for job in space.vma.jobs() if len(job["completed"]) == 2], space.vma.jobs())


def _committed(space: Workspace) -> None:
    until(space.folders["repo"].manifests(), space.folders["repo"].files())


MOMENTS: list[Callable[[Workspace], None]] = [
    _created, _job_is_there, _copying, _first_disk_done, _all_disks_done, _committed,
]  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__.strip("_"))
def test_the_controller_is_killed(space: Workspace, moment: Callable[[Workspace], None]) -> None:
    space.ready(Disk("random", 12 * MIB), Disk("random", 4 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup()
    wait_for("the moment", lambda: moment(space), timeout=60, interval=0.05)
    kill(space.kube, "controller")
    status = space.wait_phase("Completed", timeout=120)
    images.assert_identical(space)
    assert len(space.vma.starts()) == 1
    assert status["attempts"] == 1
    assert len(space.folders["repo"].manifests()) == 1
    assert len(space.jobs()) <= 1


def test_the_controller_is_killed_again_and_again(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=MIB)
    space.backup()
    for _ in range(4):
        kill(space.kube, "controller")
        wait_available(space.kube, "controller")
    space.wait_phase("Completed", timeout=120)
    images.assert_identical(space)
    assert len(space.vma.starts()) == 1


def test_the_controller_is_away_while_the_worker_ends(space: Workspace) -> None:
    """The result waits in the pod and in the manifest."""
    space.ready(Disk("random", 8 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup()
    space.wait_copying()
    deployment = chart.only(space.kube, "Deployment", "controller")
    name, home = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    _scale(space.kube, name, home, 0)
    try:
        wait_for("the manifest", lambda: _committed(space), timeout=60)
        wait_for("the worker gone", lambda: _ended(space), timeout=30)
        for pod in space.workers():
            space.kube.delete("Pod", pod["metadata"]["name"], space.namespace, grace=0)
    finally:
        _scale(space.kube, name, home, 1)
        wait_available(space.kube, "controller")
    status = space.wait_phase("Completed", timeout=120)
    images.assert_identical(space)
    assert status["disks"][0]["file"] in space.folders["repo"].layers()
    assert len(space.vma.starts()) == 1, "adopted, not repeated"
    assert len(space.folders["repo"].manifests()) == 1


def _scale(kube: Kube, name: str, namespace: str, replicas: int) -> None:
    kube.merge("Deployment", name, namespace, {"spec": {"replicas": replicas}})


def _ended(space: Workspace) -> None:
    phases = [pod["status"]["phase"] for pod in space.workers()]
    until("Running" not in phases, phases)


@pytest.mark.parametrize("how", ["one is killed", "all are killed", "rolled"])
def test_the_gateway_goes_while_a_backup_runs(space: Workspace, how: str) -> None:
    space.ready(*(Disk("random", 4 * MIB) for _ in range(4)))
    space.wait_ready("repo", "BackupRepository")
    space.vma.fault("client", "rate", bytes_per_second=MIB)
    space.backup()
    space.wait_copying()
    if how == "rolled":
        _roll(space.kube)
    else:
        kill(space.kube, "gateway", all_of_them=how == "all are killed")
    if how == "all are killed":
        # A `complete` that meets no gateway at all is lost, and with it the attempt: another one may be needed.
        space.wait_end()
    else:
        space.wait_phase("Completed", timeout=120)
        images.assert_identical(space)
        assert len(space.vma.starts()) == 1
    wait_available(space.kube, "gateway")


def _roll(kube: Kube) -> None:
    """As a changed pod template does."""
    deployment = chart.only(kube, "Deployment", "gateway")
    meta = deployment["metadata"]
    stamp = {"tests/rolled": meta["resourceVersion"]}
    patch = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    kube.merge("Deployment", meta["name"], meta["namespace"], patch)
