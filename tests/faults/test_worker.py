"""The worker goes away in the middle of its copy: a new attempt from a fresh partial, or Failed; never half of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import images, repositories
from tests.support.programs import engine
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import ENDS, Workspace, condition, summary

SLOW = 512 * 1024


@pytest.fixture
def running(space: Workspace) -> Workspace:
    """A backup in the middle of a copy that takes half a minute; it may be tried again once."""
    space.ready(Disk("random", 16 * MIB), Disk("pattern", 4 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup(retries=1)
    space.wait_copying()
    return space


def _completed_by_a_second_attempt(space: Workspace, first: str) -> None:
    status = space.wait_phase("Completed", timeout=240)
    images.assert_identical(space)
    assert status["jobID"] != first
    assert status["attempts"] == 2
    folder = space.folders["repo"]
    assert folder.partials() == []
    assert len(folder.layers()) == 2
    assert len(folder.manifests()) == 1
    jobs = [start["body"]["job_id"] for start in space.vma.starts()]
    assert len(jobs) == len(set(jobs)) == 2
    assert not space.vma.events("snapshot_deleted_under_job"), "the first client ended before the second started"


def test_a_deleted_pod(running: Workspace) -> None:
    first = running.status()["jobID"]
    (pod,) = running.workers()
    running.kube.delete("Pod", pod["metadata"]["name"], running.namespace)
    _completed_by_a_second_attempt(running, first)


def test_an_evicted_pod_uses_up_no_retry(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB), Disk("pattern", 4 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup(retries=0)
    first = space.wait_copying()["job_id"]
    (pod,) = space.workers()
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": space.namespace},
    }
    space.kube.request("POST", f"api/v1/namespaces/{space.namespace}/pods/{name}/eviction", json=eviction)
    _completed_by_a_second_attempt(space, first)


def test_a_killed_worker(running: Workspace) -> None:
    """SIGKILL of all its processes, as the kernel's when memory runs out."""
    first = running.status()["jobID"]
    (pod,) = running.workers()
    node = pod["spec"]["nodeName"]
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    engine("exec", node, "ctr", "--namespace", "k8s.io", "task", "kill", "--all", "--signal", "SIGKILL", container)
    _completed_by_a_second_attempt(running, first)


def test_qemu_nbd_that_dies(running: Workspace) -> None:
    """A killed server's layer is thrown away."""
    first = running.status()["jobID"]
    (pod,) = running.workers()
    uid = pod["metadata"]["uid"]
    kill = f"for p in $(grep -l '{uid}-disk0' /proc/[0-9]*/cmdline); do kill -9 $(echo $p | cut -d/ -f3); done"
    engine("exec", pod["spec"]["nodeName"], "sh", "-c", f"{kill} 2>/dev/null; true")
    _completed_by_a_second_attempt(running, first)


def test_no_retries_left(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    space.backup(retries=0)
    space.wait_copying()
    (pod,) = space.workers()
    node = pod["spec"]["nodeName"]
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    engine("exec", node, "ctr", "--namespace", "k8s.io", "task", "kill", "--all", "--signal", "SIGKILL", container)
    stalled = condition(space.wait_phase("Failed", timeout=60), "Stalled")
    assert stalled["reason"] == "WorkerDied"
    folder = space.folders["repo"]
    assert folder.manifests() == []
    wait_for("partials swept", lambda: until(not folder.partials(), folder.partials()), timeout=60)


@pytest.fixture
def stopped_kubelet(running: Workspace) -> Iterator[Workspace]:
    """The worker's node has no kubelet any more; afterwards it has one again."""
    node = running.status()["nodeName"]
    engine("exec", node, "systemctl", "stop", "kubelet")
    try:
        yield running
    finally:
        engine("exec", node, "systemctl", "start", "kubelet")
        wait_for(f"{node} ready", lambda: _node_ready(running, node), timeout=120)


def _node_ready(space: Workspace, node: str) -> None:
    (ready,) = [c for c in space.kube.get("Node", node)["status"]["conditions"] if c["type"] == "Ready"]
    until(ready["status"] == "True", ready)


@pytest.mark.disruptive
def test_a_kubelet_that_stops_in_the_middle_of_a_copy(stopped_kubelet: Workspace) -> None:
    """The worker lives on. Whatever is said of the Backup meanwhile: Completed only with a manifest, and one writer."""
    space = stopped_kubelet
    node = space.status()["nodeName"]
    wait_for("the node not ready", lambda: _not_ready(space, node), timeout=120)
    status = space.status()
    assert status["phase"] in ("Running", "Completed", "Failed"), summary(status)
    assert len([pod for pod in space.workers() if not pod["metadata"].get("deletionTimestamp")]) <= 1
    engine("exec", node, "systemctl", "start", "kubelet")
    wait_for(f"{node} ready", lambda: _node_ready(space, node), timeout=120)
    wait_for("an end", lambda: until(space.status()["phase"] in ENDS, summary(space.status())), timeout=240)
    folder = space.folders["repo"]
    if space.status()["phase"] == "Completed":
        images.assert_identical(space)
        assert len(folder.manifests()) == 1
    else:
        assert condition(space.status(), "Stalled")["message"]
        assert folder.manifests() == []
    wait_for("partials gone", lambda: until(not folder.partials(), folder.partials()), timeout=90)


def _not_ready(space: Workspace, node: str) -> None:
    (ready,) = [c for c in space.kube.get("Node", node)["status"]["conditions"] if c["type"] == "Ready"]
    until(ready["status"] != "True", ready)


@pytest.mark.disruptive
def test_a_node_that_restarts(running: Workspace) -> None:
    """Power is lost and comes back: the first attempt's files are gone, a second one completes."""
    node = running.status()["nodeName"]
    engine("restart", node)
    wait_for(f"{node} ready", lambda: _node_ready(running, node), timeout=180)
    status = running.wait_phase("Completed", timeout=300)
    images.assert_identical(running)
    assert status["attempts"] >= 2
    folder = running.folders["repo"]
    wait_for("partials gone", lambda: until(not folder.partials(), folder.partials()), timeout=60)
    assert repositories.worker_nodes(running.kube)
