"""A node's kubelet stops, the node is lost, the API server is away: one writer, and an end that is true."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import chart, nodes
from tests.support.objects import find_condition
from tests.support.outcomes import PATIENCE, completed_with_one_start
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import holds_for, until, wait_for
from tests.support.workspace import Workspace, summary

pytestmark = [pytest.mark.disruptive, pytest.mark.timeout(900)]

LONG = 300
"""Seconds: a node is called NotReady after 50, and the machine may be busy."""
GIVEN_UP = 10
"""Seconds of being NotReady after which the controller gives a node up, where it is impatient."""
LOOK = 5
"""Seconds between two requests to a running worker."""


def ready(space: Workspace) -> None:
    """With a repository on another node than the reference VMA's, which has to go on."""
    space.ready(Disk("random", 12 * MIB), Disk("random", 8 * MIB), node=nodes.apart_from_the_vma(space.kube))
    space.wait_ready("repo", "BackupRepository")


def copying(space: Workspace, rate: int) -> str:
    """Node of a backup in the middle of its copy."""
    ready(space)
    space.vma.fault("client", "rate", bytes_per_second=rate)
    space.backup()
    space.wait_copying(timeout=PATIENCE)
    return str(space.status()["nodeName"])


def test_a_kubelet_that_is_away_when_the_worker_ends(space: Workspace) -> None:
    """The copy does not need it, and the answer waits for it."""
    node = copying(space, MIB)
    with nodes.without_kubelet(space.kube, node):
        folder = space.folders["repo"]
        wait_for("the manifest", lambda: until(folder.manifests(), folder.files()), timeout=PATIENCE)
        assert space.status()["phase"] == "Running"
    completed_with_one_start(space)


@pytest.fixture
def impatient(space: Workspace) -> Iterator[Workspace]:
    """The controller gives a node up sooner than the default."""
    with chart.setting(space.kube, "controller", "SENDENSE_NODE_LOST_SECONDS", str(GIVEN_UP)):
        yield space


def test_a_node_that_is_lost(impatient: Workspace, history: History) -> None:
    """Amid an increment: Failed in the end, and nobody else writes until the node has reported that the worker is gone.

    The next one depends on the last restore point as if nothing had been.
    """
    space = impatient
    ready(space)
    history.backup("full")
    space.vma.write("vm", key=2000, ranges=[[0, 6 * MIB]], seed=1)
    space.vma.fault("client", "rate", bytes_per_second=MIB // 8)
    history.start("lost", type="Incremental", retries=2)
    space.wait_copying("lost")
    (pod,) = space.workers("lost")
    node = str(space.status("lost")["nodeName"])
    with nodes.without_kubelet(space.kube, node):
        nodes.kill_worker(pod)
        status = space.wait_phase("Failed", "lost", timeout=LONG)
        assert node in str(status["conditions"])
        history.start("next", type="Incremental")
        space.wait_reason("ChainBusy", "next")
        assert [worker["metadata"]["name"] for worker in space.workers("lost")] == [pod["metadata"]["name"]]
        assert space.workers("next") == []
    status = space.wait_phase("Completed", "next", timeout=LONG)
    assert {(disk["type"], disk["parent"]) for disk in status["disks"]} == {("Incremental", "full")}
    history.assert_identical("full", "next")
    folder = space.folders["repo"]
    assert folder.partials() == []
    assert {point["backup"]["name"] for point in folder.manifests()} == {"full", "next"}
    assert space.status("lost")["phase"] == "Failed", "what has ended stays so"


def test_a_worker_that_goes_on_where_its_node_is_lost(impatient: Workspace) -> None:
    """While it answers it is no loss: the controller asks it, not the kubelet."""
    space = impatient
    node = copying(space, MIB // 16)
    job = str(space.status()["jobID"])
    with nodes.without_kubelet(space.kube, node):
        wait_for("NotReady", lambda: until(nodes.ready(space.kube, node) != "True", "Ready"), timeout=LONG)
        holds_for("it runs", lambda: _runs(space), seconds=GIVEN_UP + 4 * LOOK, interval=1)
        assert nodes.ready(space.kube, node) != "True", "it was away all that time"
    space.vma.command(job, "rate", bytes_per_second=64 * MIB)
    completed_with_one_start(space)


def _runs(space: Workspace) -> None:
    status = space.status()
    assert status["phase"] == "Running", summary(status)
    assert find_condition(status, "Ready")["reason"] != "Unreachable", "it answers"


def test_the_api_server_is_away(space: Workspace) -> None:
    """The copy goes on: callbacks reach the worker, the result waits until it can be reported."""
    copying(space, MIB)
    with nodes.without_api_server(space.kube):
        folder = space.folders["repo"]
        wait_for("the manifest", lambda: until(folder.manifests(), folder.files()), timeout=120)
    completed_with_one_start(space)
