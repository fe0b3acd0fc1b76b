"""Who is killed in the middle of an increment leaves the chain as it was, or with one whole restore point more."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import chart, images, nodes
from tests.support.admission import mutated_pods
from tests.support.outcomes import PATIENCE
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

TWO = (Disk("random", 12 * MIB), Disk("pattern", 6 * MIB))
SLOW = MIB // 2
HANGS_IN_CHECK = """#!/bin/sh
# qemu-img, but the check of a layer that is to be committed never comes to its end.
case "$*" in check*.partial*) sleep 600 ;; esac
exec /usr/bin/qemu-img "$@"
"""
Object = dict[str, Any]


@pytest.fixture
def chain(space: Workspace, history: History) -> History:
    """A full and an increment, and changes for the next one, whose copy takes ten seconds."""
    space.ready(*TWO)
    history.backup("full")
    space.vma.write("vm", count=3, size=4096, seed="incr")
    history.increment("incr")
    changed(space)
    return history


def changed(space: Workspace) -> None:
    space.vma.write("vm", key=2000, ranges=[[0, 4 * MIB]], seed="next")
    space.vma.write("vm", key=2001, ranges=[[MIB, MIB]], seed="next")
    space.vma.fault("client", "rate", bytes_per_second=SLOW)


def copying(history: History, **spec: Any) -> Object:
    """The pod of the next increment, in the middle of its copy."""
    history.start("next", type="Incremental", **spec)
    history.space.wait_copying("next", timeout=PATIENCE)
    (pod,) = history.space.workers("next")
    return pod


def goes_well(history: History, *, attempts: int) -> Object:
    """`next` is an increment on `incr`, all points are what they were, and no file is too many."""
    space, folder = history.space, history.space.folders["repo"]
    status = space.wait_phase("Completed", "next", timeout=PATIENCE)
    assert status["attempts"] == attempts
    assert {(disk["type"], disk["parent"]) for disk in status["disks"]} == {("Incremental", "incr")}
    history.assert_identical(*history.kept)
    assert folder.partials() == []
    assert folder.strangers() == []
    images.check(space, *(folder.path / name for name in folder.layers()))
    history.wait_points("full", "incr", "next")
    return status


@pytest.mark.disruptive
def test_the_controller_is_killed(chain: History) -> None:
    """During the copy, and when the restore point is there but nobody has told it yet."""
    space = chain.space
    before = len(space.vma.starts())
    copying(chain)
    chart.kill(space.kube, "controller")
    folder = space.folders["repo"]
    wait_for("the commit", lambda: until(len(folder.manifests()) == 3, folder.files()), timeout=90, interval=0.05)
    chart.kill(space.kube, "controller")
    goes_well(chain, attempts=1)
    assert len(space.vma.starts()) == before + 1


def test_the_worker_is_killed_during_the_copy(chain: History) -> None:
    """Its client hangs for ever then, as an increment's does; the next attempt is not disturbed by it."""
    pod = copying(chain, retries=1)
    nodes.kill_worker(pod)
    goes_well(chain, attempts=2)
    assert len(chain.space.vma.events("deadlocked")) == 1


def test_the_worker_is_told_to_stop_during_the_copy(chain: History) -> None:
    """Then its client is given its end: it leaves neither a process nor a snapshot."""
    space = chain.space
    pod = copying(chain, retries=1)
    space.kube.delete("Pod", pod["metadata"]["name"], space.namespace)
    goes_well(chain, attempts=2)
    assert space.vma.events("deadlocked") == []
    assert space.vma.events("snapshot_deleted_under_job") == []


def test_the_worker_is_killed_before_the_commit(space: Workspace, history: History) -> None:
    """All bytes are there, nothing is proven: another attempt, from nothing."""
    space.ready(*TWO)
    history.backup("full")
    history.increment("incr")
    changed(space)
    with mutated_pods(space.kube, space.namespace, "/usr/local/bin/qemu-img", HANGS_IN_CHECK):
        history.start("next", type="Incremental", retries=1)
        wait_for("its check", lambda: _stage(space, "Verifying"), timeout=PATIENCE)
    (pod,) = space.workers("next")
    assert space.folders["repo"].partials()
    nodes.kill_worker(pod)
    goes_well(history, attempts=2)


def _stage(space: Workspace, stage: str) -> None:
    status = space.status("next")
    until(status.get("stage") == stage, status)


def test_the_points_below_are_deleted_meanwhile(chain: History) -> None:
    """They go at once, what the increment stands on stays; and all of it goes with the increment."""
    space, folder = chain.space, chain.space.folders["repo"]
    copying(chain)
    for name in ("incr", "full"):
        space.delete_and_wait(name, timeout=20)
        del chain.kept[name]
    wait_for("the tombstones", lambda: until(len(folder.tombstones()) == 2, folder.files()), timeout=PATIENCE)
    status = space.wait_phase("Completed", "next", timeout=PATIENCE)
    assert {(disk["type"], disk["depth"]) for disk in status["disks"]} == {("Incremental", 3)}
    chain.assert_identical("next")
    chain.wait_points("next")

    def needed_by() -> None:
        removed = chain.wait_removed(full="Needed", incr="Needed")["removed"]
        until({entry.get("neededBy") for entry in removed} == {"next"}, removed)

    wait_for("the chain to say who needs them", needed_by, timeout=60)
    space.delete_and_wait("next", timeout=20)
    wait_for("all files gone", lambda: until(folder.layers() == [], folder.files()), timeout=60)
    assert folder.strangers() == []
