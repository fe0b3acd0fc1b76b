"""Who is killed in the middle of an increment leaves the chain as it was, or with one whole restore point more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import chart, images, nodes
from tests.support.admission import mutated_pods
from tests.support.objects import Obj
from tests.support.outcomes import PATIENCE
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace, summary

TWO = (Disk("random", 12 * MIB), Disk("pattern", 6 * MIB))
SLOW = MIB // 4
HELD = {"timeouts": {"stallSeconds": 300}}
"""For a copy that stands still for as long as a test needs."""
HANGS_IN_CHECK = """#!/bin/sh
# qemu-img, but the check of a layer that is to be committed never comes to its end.
case "$*" in check*.partial*) sleep 600 ;; esac
exec /usr/bin/qemu-img "$@"
"""


@pytest.fixture
def chain(space: Workspace, history: History) -> History:
    """A full and an increment, and changes for the next one."""
    space.ready(*TWO, appliance=HELD)
    history.backup("full")
    space.vma.write("vm", count=3, size=4096, seed="incr")
    history.increment("incr")
    changed(space)
    return history


def changed(space: Workspace) -> None:
    space.vma.write("vm", key=2000, ranges=[[0, 4 * MIB]], seed="next")
    space.vma.write("vm", key=2001, ranges=[[MIB, MIB]], seed="next")


@dataclass
class Held:
    """The first attempt at `next`: its copy stands still in the middle until `go_on`."""

    space: Workspace
    pod: Obj
    job: str

    def go_on(self) -> None:
        """As fast as it can."""
        self.space.vma.command(self.job, "rate", bytes_per_second=1 << 30)
        self.space.vma.command(self.job, "resume")

    def assert_stands_still(self) -> None:
        status = self.space.status("next")
        assert (status["phase"], status.get("attempts")) == ("Running", 1), summary(status)
        (job,) = [job for job in self.space.vma.jobs() if job["job_id"] == self.job]
        assert job["alive"]
        assert job["completed"] == []


def copying(history: History, **spec: Any) -> Held:
    """Return the next increment, held in the copy of its first disk."""
    space = history.space
    space.vma.fault("client", "rate", bytes_per_second=SLOW)
    history.start("next", type="Incremental", **spec)
    job = str(space.wait_copying("next", timeout=PATIENCE)["job_id"])
    space.vma.command(job, "pause")
    (pod,) = space.workers("next")
    held = Held(space, pod, job)
    held.assert_stands_still()
    return held


def goes_well(history: History, *, attempts: int) -> Obj:
    """`next` is an increment on `incr`, all points are what they were, and no file is too many."""
    space, folder = history.space, history.space.folders["repo"]
    status = space.wait_phase("Completed", "next", timeout=PATIENCE)
    assert status["attempts"] == attempts
    assert {(disk["type"], disk["parent"]) for disk in status["disks"]} == {("Incremental", "incr")}
    history.assert_identical(*history.kept)
    assert folder.partials() == []
    assert folder.orphans() == []
    images.check(space, *(folder.path / name for name in folder.layers()))
    history.wait_points("full", "incr", "next")
    return status


@pytest.mark.disruptive
def test_the_controller_is_killed(chain: History) -> None:
    """During the copy, and when the restore point is there but nobody has reported it yet."""
    space = chain.space
    before = len(space.vma.starts())
    held = copying(chain)
    chart.kill(space.kube, "controller")
    chart.wait_available(space.kube, "controller")
    held.assert_stands_still()
    held.go_on()
    folder = space.folders["repo"]
    wait_for("the commit", lambda: until(len(folder.manifests()) == 3, folder.files()), timeout=PATIENCE, interval=0.05)
    assert space.status("next")["phase"] == "Running", "nobody has reported it"
    chart.kill(space.kube, "controller")
    goes_well(chain, attempts=1)
    assert len(space.vma.starts()) == before + 1


def test_the_worker_is_killed_during_the_copy(chain: History) -> None:
    """Its client hangs for ever then, as an increment's does; the next attempt is not disturbed by it."""
    held = copying(chain, retries=1)
    nodes.kill_worker(held.pod)
    held.go_on()
    goes_well(chain, attempts=2)
    assert len(chain.space.vma.events("deadlocked")) == 1


def test_the_worker_is_requested_to_stop_during_the_copy(chain: History) -> None:
    """Then its client is given its end: it leaves neither a process nor a snapshot."""
    space = chain.space
    held = copying(chain, retries=1)
    space.kube.delete("Pod", held.pod["metadata"]["name"], space.namespace)
    wait_for("the worker to wait for its client", lambda: _waits_for_client(held.pod), timeout=60)
    held.go_on()
    goes_well(chain, attempts=2)
    assert space.vma.events("deadlocked") == []
    assert space.vma.events("snapshot_deleted_under_job") == []


def _waits_for_client(pod: Obj) -> None:
    log = nodes.log_of(pod)
    until("the VMA is copying an increment" in log, log[-500:])


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
    """They go at once, what the increment depends on stays; and all of it goes with the increment."""
    space, folder = chain.space, chain.space.folders["repo"]
    chain.keep_layers()
    held = copying(chain)
    for name in ("incr", "full"):
        space.delete_and_wait(name)
        del chain.kept[name]
    wait_for("the tombstones", lambda: until(len(folder.tombstones()) == 2, folder.files()), timeout=PATIENCE)
    held.assert_stands_still()
    held.go_on()
    status = space.wait_phase("Completed", "next", timeout=PATIENCE)
    assert {(disk["type"], disk["depth"]) for disk in status["disks"]} == {("Incremental", 3)}
    chain.assert_identical("next")
    chain.wait_points("next")

    def needed_by() -> None:
        removed = chain.wait_removed(full="Needed", incr="Needed")["removed"]
        until({entry.get("neededBy") for entry in removed} == {"next"}, removed)

    wait_for("the chain to say who needs them", needed_by, timeout=60)
    space.delete_and_wait("next")
    wait_for("all files gone", lambda: until(folder.layers() == [], folder.files()), timeout=60)
    assert folder.orphans() == []
