"""What a person sees while a backup runs: numbers that only grow, written seldom, and a story of events."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.support.kube import Kube
from tests.support.programs import kubectl
from tests.support.recording import Recording, recorded
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace, condition, moment

STATUS_INTERVAL = 5.0
SLACK = 0.5
"""Seconds by which two arrivals on the watch may be closer than the writes were."""


@pytest.fixture
def seen(space: Workspace) -> Recording:
    """Every version of a Backup of two disks that takes about 25 seconds."""
    space.ready(Disk("random", 24 * MIB), Disk("random", 12 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=3 * MIB // 2)
    with recorded(space.kube, "Backup", "backup", space.namespace) as recording:
        space.backup()
        space.wait_phase("Completed")
        wait_for("the last version", lambda: recording.wait_last("Completed"), timeout=10)
    return recording


def test_progress(seen: Recording) -> None:
    _numbers_never_go_back(seen)
    _rate_and_estimate_are_told(seen)
    _writes_keep_their_distance(seen)
    _no_write_without_a_change(seen)
    _phases_and_conditions_agree(seen)
    _transition_times_are_kept(seen)


def _running(seen: Recording) -> list[dict[str, Any]]:
    return [status for status in seen.statuses() if status.get("phase") == "Running" and "progress" in status]


def _numbers_never_go_back(seen: Recording) -> None:
    statuses = [status for status in seen.statuses() if "progress" in status]
    for before, after in pairwise(statuses):
        for number in ("bytesTransferred", "percent"):
            assert before["progress"].get(number, 0) <= after["progress"].get(number, 0)
        for old, new in zip(before.get("disks", []), after["disks"], strict=False):
            assert old["id"] == new["id"]
            assert old.get("percent", 0) <= new.get("percent", 0)
            assert old.get("bytesTransferred", 0) <= new.get("bytesTransferred", 0)
    percents = [status["progress"]["percent"] for status in _running(seen)]
    assert len({percent for percent in percents if 0 < percent < 100}) >= 2, percents
    assert max(percents) < 100, "100% is said when it is committed"
    assert seen.statuses()[-1]["progress"]["percent"] == 100
    assert {status["progress"]["totalBytes"] for status in _running(seen)} == {36 * MIB}


def _rate_and_estimate_are_told(seen: Recording) -> None:
    told = [status["progress"] for status in _running(seen) if status["progress"].get("rateBytesPerSecond")]
    assert told, "no rate was ever told"
    assert all(MIB // 2 < progress["rateBytesPerSecond"] < 16 * MIB for progress in told[1:])
    assert any(progress.get("etaSeconds") is not None and progress["eta"] and progress["rate"] for progress in told)


def _writes_keep_their_distance(seen: Recording) -> None:
    """Of progress: a change of phase or stage is told at once."""
    of_progress = [
        (at, obj["status"])
        for at, obj in seen.versions
        if obj.get("status", {}).get("phase") == "Running" and obj["status"].get("stage") == "Copying"
    ]
    gaps = [after[0] - before[0] for before, after in pairwise(of_progress)]
    assert all(gap > STATUS_INTERVAL - SLACK for gap in gaps), gaps


def _no_write_without_a_change(seen: Recording) -> None:
    for (_, before), (_, after) in pairwise(seen.versions):
        meaning = [{k: obj[k] for k in ("spec", "status") if k in obj} for obj in (before, after)]
        meta = [obj["metadata"] for obj in (before, after)]
        ours = [(m.get("finalizers"), m.get("labels"), m["generation"]) for m in meta]
        assert meaning[0] != meaning[1] or ours[0] != ours[1], "a write that changed nothing"


def _phases_and_conditions_agree(seen: Recording) -> None:
    order = ["Pending", "Running", "Completed"]
    phases = [status["phase"] for status in seen.statuses()]
    assert phases == sorted(phases, key=order.index)
    for status in seen.statuses():
        ready, busy = condition(status, "Ready"), condition(status, "Reconciling")
        assert ready["status"] == ("True" if status["phase"] == "Completed" else "False")
        assert bool(busy) is (status["phase"] != "Completed")
        assert status["observedGeneration"] == 1
    first = seen.statuses()[0]
    assert condition(first, "Ready") and condition(first, "Reconciling"), "written with the very first update"
    last = seen.statuses()[-1]
    assert moment(last["startTime"]) <= moment(last["completionTime"])


def _transition_times_are_kept(seen: Recording) -> None:
    busy = [condition(status, "Reconciling") for status in seen.statuses()]
    assert len({found["lastTransitionTime"] for found in busy if found}) == 1


def test_a_backup_that_has_ended_is_never_written_again(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    space.wait_phase("Completed")
    settled = wait_for("the worker's finalizer gone", lambda: _tidied_up(space.kube, space.namespace), timeout=15)
    space.backup("another")
    space.wait_phase("Completed", "another")
    assert space.get()["metadata"]["resourceVersion"] == settled


def _tidied_up(kube: Kube, namespace: str) -> str:
    meta = kube.get("Backup", "backup", namespace)["metadata"]
    held = meta.get("finalizers", [])
    kept = held == ["backup.sendense.io/restore-point"]
    until(kept and meta.get("labels"), meta)
    return str(meta["resourceVersion"])


def test_events_tell_the_story(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    space.wait_phase("Completed")
    wait_for("the story", lambda: until({"Started", "Committed"} <= set(space.events()), space.events()), timeout=15)


def test_labels_for_lists(space: Workspace) -> None:
    """Every filter of the list call works by label too."""
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    space.wait_phase("Completed")
    wait_for("the worker's finalizer gone", lambda: _tidied_up(space.kube, space.namespace), timeout=15)
    group = "backup.sendense.io"
    labels = f"{group}/vm=vm,{group}/repository=repo,{group}/type=Full,{group}/phase=Completed"
    assert [obj["metadata"]["name"] for obj in space.kube.select("Backup", space.namespace, labels=labels)] == [
        "backup"
    ]


def test_kubectl_wait_and_get(space: Workspace) -> None:
    """The user's own way to follow it."""
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    kubectl("-n", space.namespace, "wait", "backup/backup", "--for=condition=Ready", "--timeout=90s")
    shown = kubectl("-n", space.namespace, "get", "backups")
    assert shown.split()[:8] == ["NAME", "VM", "TYPE", "PHASE", "PROGRESS", "RATE", "STORED", "REPOSITORY"]
    assert "Completed" in shown
    assert "100%" in shown
