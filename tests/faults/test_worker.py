"""The worker goes away in the middle of its copy: a new attempt from a fresh partial, or Failed; never half of one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import nodes
from tests.support.kube import path_of
from tests.support.outcomes import PATIENCE, completed_by_the_second_attempt, failed
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace


def copying(space: Workspace, **spec: Any) -> dict[str, Any]:
    """Return the first attempt's pod during a copy that would take half a minute; the next is fast."""
    space.ready(Disk("random", 16 * MIB), Disk("pattern", 4 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=MIB // 2)
    space.backup(**spec)
    space.wait_copying(timeout=PATIENCE)
    assert space.folders["repo"].partials()
    (pod,) = space.workers()
    return pod


def name_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


@pytest.mark.parametrize("grace", [None, 0], ids=["gracefully", "by-force"])
def test_its_pod_is_deleted(space: Workspace, grace: int | None) -> None:
    """By force, the next one may start while the old one still runs: the chain's lock keeps them apart."""
    pod = copying(space, retries=1)
    space.kube.delete("Pod", name_of(pod), space.namespace, grace=grace)
    completed_by_the_second_attempt(space)
    if grace is None:
        assert not space.vma.events("snapshot_deleted_under_job"), "the VMA's client was given time to end"


def test_its_pod_is_evicted(space: Workspace) -> None:
    """No fault of the attempt's: no retry is used up, as there is none."""
    pod = copying(space, retries=0)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name_of(pod), "namespace": space.namespace},
    }
    space.kube.request("POST", path_of("Pod", space.namespace, name_of(pod), "eviction"), json=eviction)
    completed_by_the_second_attempt(space)


def test_it_is_killed(space: Workspace) -> None:
    """As when memory runs out. Nothing can be cleaned up then: the next attempt sweeps."""
    pod = copying(space, retries=1)
    left = space.folders["repo"].partials()
    nodes.kill_worker(pod)
    status = completed_by_the_second_attempt(space)
    files = [disk["file"] for disk in status["disks"]]
    assert not {f"{file}.partial" for file in files} & set(left), "a partial never becomes a layer later"


def test_it_is_killed_for_good(space: Workspace) -> None:
    """Another worker only looks for a manifest, and sweeps."""
    pod = copying(space, retries=0)
    nodes.kill_worker(pod)
    assert "137" in failed(space, "WorkerDied")
    wait_for("its pods ended", lambda: until(not _running(space), _running(space)))


def _running(space: Workspace) -> list[str]:
    return [name_of(pod) for pod in space.workers() if pod["status"]["phase"] == "Running"]


def test_its_export_is_killed(space: Workspace) -> None:
    pod = copying(space, retries=0)
    nodes.kill_program(pod, "qemu-nbd")
    assert "qemu-nbd" in failed(space, "ExportGone")


def test_its_export_is_killed_once(space: Workspace) -> None:
    pod = copying(space, retries=1)
    nodes.kill_program(pod, "qemu-nbd")
    completed_by_the_second_attempt(space)
