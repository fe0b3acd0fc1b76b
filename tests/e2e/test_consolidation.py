"""A chain that goes on for ever: restore points come and go, it stays shallow and keeps nothing that nobody needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support import chart, images, manifests, nodes
from tests.support.objects import Obj
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import chain_name

KIB = 1024
INCREMENTS = int(os.environ.get("SENDENSE_TEST_INCREMENTS", "20"))
"""The suite has little time; 40 were tried by hand."""
KEPT = 7
TARGET = 8
WRITES = 128
"""Of 4 KiB each, before each increment."""
CONTROLLER_DIES = 9
MERGE_DIES = 13
SLOW_MERGE = 4 * MIB
"""Bytes per second of the merge that is killed: it takes long enough to be found."""


@pytest.mark.disruptive
@pytest.mark.timeout(3600)
def test_many_increments_of_which_seven_are_kept(space: Workspace, history: History) -> None:
    """Once the controller dies in between, and once a pod that merges: each point that is kept stays what it was."""
    space.ready(Disk("random", 64 * MIB))
    history.set_consolidation(targetDepth=TARGET)
    compact = {"spec": {"compaction": "Auto"}}
    space.kube.merge("BackupChain", chain_name(history.vm, history.repository), space.namespace, compact)
    keep_last(space)
    points = [begin(history)]
    for number in range(1, INCREMENTS + 1):
        began = time.monotonic()
        points.append(increment(history, f"incr-{number}"))
        copied = time.monotonic() - began
        expire(history, points)
        if number == CONTROLLER_DIES:
            chart.kill(space.kube, "controller")
        if number == MERGE_DIES:
            kill_a_merge(history, points)
        depth = wait_shallow(history, points)
        print(f"{points[-1]}: copied in {copied:.0f} s, ready for the next after {time.monotonic() - began:.0f} s")
        assert depth <= TARGET
    chain = wait_merged(history, points)
    assert chain["consolidation"]["left"] == ""
    assert_lean(history, chain)
    history.assert_identical(*points)
    assert space.folders["repo"].orphans() == []
    assert space.folders["repo"].tombstones() == []


def keep_last(space: Workspace) -> None:
    retention = {"keepLast": KEPT, "includeManual": True}
    space.kube.create(manifests.backup_policy("tidy", space.namespace, retention=retention, failedHistoryLimit=0))


def begin(history: History) -> str:
    history.backup("full")
    return "full"


def increment(history: History, name: str) -> str:
    """Back up random writes; the chain is as deep as it may be while the merge of the last removal is awaited."""
    history.space.vma.write("vm", count=WRITES, size=4 * KIB, seed=name)
    status = history.increment(name)
    assert [disk["type"] for disk in status["disks"]] == ["Incremental"], "never a new full"
    assert max(disk["depth"] for disk in status["disks"]) <= TARGET + 1
    return name


def expire(history: History, points: list[str]) -> None:
    """Forget what retention removes; its copy of the disks goes, too."""
    while len(points) > KEPT:
        for copy in history.kept.pop(points.pop(0)):
            copy.unlink()


def wait_shallow(history: History, points: list[str]) -> int:
    """Return the chain's depth once it has these restore points, and the next increment finds room below the target."""
    history.wait_points(*points)

    def probe() -> int:
        chain = history.chain()
        assert chain["depth"] <= TARGET + 1, chain
        until(chain["depth"] <= TARGET, (chain.get("consolidation"), chain.get("removed")))
        return int(chain["depth"])

    return wait_for("a chain that is not too deep", probe, timeout=2 * SLOW_MACHINE)


def kill_a_merge(history: History, points: list[str]) -> None:
    """SIGKILL for the pod of a merge that is requested; what it left is finished or undone by the next."""
    space, name = history.space, chain_name(history.vm, history.repository)
    rules = {"spec": {"consolidation": {"bytesPerSecond": SLOW_MERGE}}}
    space.kube.merge("BackupChain", name, space.namespace, rules)
    space.vma.write("vm", count=WRITES, size=4 * KIB, seed="killed")
    wait_shallow(history, points)
    points.append(increment(history, "killed"))
    expire(history, points)
    history.wait_points(*points)
    request(history, "to be killed")
    labels = f"{names.LABEL_COMPONENT}={names.COMPONENT_CONSOLIDATION}"

    def running() -> Obj:
        pods = space.kube.select("Pod", space.namespace, labels=labels)
        found = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        progress = history.chain()["consolidation"].get("progress", "")
        until(found and progress.startswith("merging"), progress)
        return found[0]

    nodes.kill_worker(wait_for("a pod that merges", running, timeout=2 * SLOW_MACHINE))
    fast = {"spec": {"consolidation": {"bytesPerSecond": None}}}
    space.kube.merge("BackupChain", name, space.namespace, fast)

    def reported() -> None:
        until(space.kube.select("Event", space.namespace, fields="reason=ConsolidationFailed"), "no Event")

    wait_for("the Event of the failure", reported, timeout=SLOW_MACHINE)


def request(history: History, value: str) -> None:
    """Have everything merged that no restore point needs apart, also what frees little."""
    change = {"metadata": {"annotations": {names.ANNOTATION_CONSOLIDATE: value}}}
    history.space.kube.merge("BackupChain", chain_name(history.vm, history.repository), history.space.namespace, change)


def wait_merged(history: History, points: list[str]) -> Obj:
    """Return the chain's status once nothing is left of what was removed."""
    history.wait_points(*points)
    request(history, "all of it")

    def probe() -> Obj:
        chain = history.chain()
        until(not chain.get("removed") and not chain["consolidation"]["progress"], chain)
        return chain

    return wait_for("the end of all merges", probe, timeout=2 * SLOW_MACHINE)


def assert_lean(history: History, chain: Obj) -> None:
    """It stores at most 1.3 times what the disks hold, and what changed between the points that are kept."""
    changes = (KEPT - 1) * WRITES * 4 * KIB
    guest = sum(allocated(source) for source in history.space.disks["vm"])
    print(f"stored {chain['storedBytes'] / MIB:.1f} MiB for {guest / MIB:.1f} MiB and {changes / MIB:.1f} MiB changed")
    assert chain["storedBytes"] <= 1.3 * (guest + changes)
    layers = [history.space.folders["repo"].path / file for file in history.space.folders["repo"].layers()]
    assert sum(allocated(layer) for layer in layers) <= 1.3 * (guest + changes)
    images.check(history.space, *layers)


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512
