"""What a person sees while a backup runs: numbers that only grow, written seldom, and a story of events."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from tests.support.kube import Kube
from tests.support.objects import find_condition
from tests.support.programs import kubectl
from tests.support.recording import Recording, recorded
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace, moment

STATUS_INTERVAL = 5
"""Seconds between two writes of progress, at least."""
EXPECTED_WAITS = ("RepositoryNotFound", "RepositoryNotReady", "ApplianceNotReady")


@pytest.fixture
def seen(space: Workspace) -> Recording:
    """Every version of a Backup of two disks that takes about 25 seconds."""
    space.ready(Disk("random", 24 * MIB), Disk("random", 12 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=3 * MIB // 2)
    with recorded(space.kube, "Backup", "backup", space.namespace) as recording:
        space.backup()
        space.wait_phase("Completed")
        wait_for("the last version", lambda: recording.wait_last("Completed"), timeout=60)
    return recording


def test_progress(seen: Recording) -> None:
    _numbers_never_go_back(seen)
    _rate_and_estimate_are_reported(seen)
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


def _rate_and_estimate_are_reported(seen: Recording) -> None:
    reported = [status["progress"] for status in _running(seen) if status["progress"].get("rateBytesPerSecond")]
    assert reported, "no rate was ever reported"
    assert all(MIB // 2 < progress["rateBytesPerSecond"] < 16 * MIB for progress in reported[1:])
    assert any(progress.get("etaSeconds") is not None and progress["eta"] and progress["rate"] for progress in reported)


def _writes_keep_their_distance(seen: Recording) -> None:
    """Of progress; a change of phase or stage is reported at once.

    By the times that the writer puts into them: when a watch brings them says more of a busy machine.
    """
    of_progress: list[dict[str, Any]] = []
    for status in _running(seen):
        if status.get("stage") == "Copying" and status not in of_progress[-1:]:
            of_progress.append(status)
    times = [moment(status["progress"]["lastUpdateTime"]) for status in of_progress]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert gaps
    assert all(gap >= STATUS_INTERVAL for gap in gaps), gaps


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
        ready, busy = find_condition(status, "Ready"), find_condition(status, "Reconciling")
        assert ready["status"] == ("True" if status["phase"] == "Completed" else "False")
        assert bool(busy) is (status["phase"] != "Completed")
        assert status["observedGeneration"] == 1
    first = seen.statuses()[0]
    assert find_condition(first, "Ready") and find_condition(first, "Reconciling"), "written with the very first update"
    last = seen.statuses()[-1]
    assert moment(last["startTime"]) <= moment(last["completionTime"])


def _transition_times_are_kept(seen: Recording) -> None:
    busy = [find_condition(status, "Reconciling") for status in seen.statuses()]
    assert len({found["lastTransitionTime"] for found in busy if found}) == 1


def test_a_backup_that_has_ended_is_never_written_again(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    space.wait_phase("Completed")
    settled = wait_for("the worker's finalizer gone", lambda: _tidied_up(space.kube, space.namespace), timeout=60)
    space.backup("another")
    space.wait_phase("Completed", "another")
    assert space.get()["metadata"]["resourceVersion"] == settled


def _tidied_up(kube: Kube, namespace: str) -> str:
    meta = kube.get("Backup", "backup", namespace)["metadata"]
    held = meta.get("finalizers", [])
    kept = held == ["backup.sendense.io/restore-point"]
    until(kept and meta.get("labels"), meta)
    return str(meta["resourceVersion"])


Story = list[tuple[str, str, str]]


def wait_story(space: Workspace, *last: str, but: tuple[str, ...] = ()) -> Story:
    """Return all Events of the Backup once it ends with these. `but`: reasons that may be missing."""

    def probe() -> Story:
        story = [event for event in space.story() if event[1] not in but]
        until([reason for _, reason, _ in story][-len(last) :] == list(last), story)
        return story

    return wait_for("the story's end", probe)


def test_events_tell_the_story(space: Workspace) -> None:
    """From what it waited for, over an attempt that failed, to what it became."""
    space.add_secret()
    space.add_appliance(timeouts={"reconnectSeconds": 8})
    space.add_vm("vm", Disk("random", 8 * MIB), Disk("pattern", 4 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=2 * MIB)
    space.vma.fault("client", "die", bytes=3 * MIB)
    space.backup(type="Incremental", retries=1)
    space.wait_reason("RepositoryNotFound")
    space.add_repository()
    space.wait_phase("Completed")
    # How long a worker needs to give up is chance, and so whether the controller sees it doing so.
    story = wait_story(space, "Started", "Retrying", "Committed", "FellBackToFull", but=("Cancelling",))
    waits, (started, again, committed, fell_back) = story[:-4], story[-4:]
    assert ("Normal", "RepositoryNotFound", "there is no BackupRepository repo") in waits
    assert {(kind, reason) for kind, reason, _ in waits} <= {("Normal", reason) for reason in EXPECTED_WAITS}
    (job,) = space.jobs()
    assert started == ("Normal", "Started", f"worker {job['metadata']['name']}: the worker's pod is being started")
    assert again[0] == "Warning"
    assert again[2].startswith("attempt 2: ConnectionLost: ")
    assert committed[0] == "Normal"
    assert re.fullmatch(r"Full: 2 disks, 12\.0 MiB, committed; 12\.0 MiB sent, [\d.]+ MiB stored", committed[2])
    why = "disk 0 was copied in full: NoParent; disk 1 was copied in full: NoParent"
    assert fell_back == ("Normal", "FellBackToFull", why), "nothing to worry about"


def test_events_tell_of_a_wait_in_vain(space: Workspace) -> None:
    space.backup(startDeadlineSeconds=5)
    space.wait_phase("Failed")
    why = "there is no ProtectedVM vm"
    waited, failed = wait_story(space, "VMNotFound", "Failed")
    assert waited == ("Normal", "VMNotFound", why)
    assert failed[0] == "Warning"
    assert failed[2].startswith("StartDeadlineExceeded: ")
    assert failed[2].endswith(f"waited for VMNotFound: {why}")


def test_events_tell_of_a_cancellation(space: Workspace) -> None:
    space.ready(Disk("random", 16 * MIB))
    space.wait_ready("repo", "BackupRepository")
    space.wait_ready("vma", "VMwareAppliance")
    space.vma.fault("client", "rate", bytes_per_second=MIB // 4)
    space.backup()
    space.wait_copying()
    space.kube.merge("Backup", "backup", space.namespace, {"spec": {"cancel": True}})
    space.wait_phase("Cancelled")
    story = wait_story(space, "Started", "Cancelling", "Cancelled")
    cancelling, cancelled = story[-2:]
    assert cancelling[:2] == ("Normal", "Cancelling")
    assert cancelled[:2] == ("Normal", "Cancelled")
    assert cancelled[2].startswith("cancelled by spec.cancel")


def test_labels_for_lists(space: Workspace) -> None:
    """Every filter of the list call works by label too."""
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    space.wait_phase("Completed")
    wait_for("the worker's finalizer gone", lambda: _tidied_up(space.kube, space.namespace), timeout=60)
    group = "backup.sendense.io"
    labels = f"{group}/vm=vm,{group}/repository=repo,{group}/type=Full,{group}/phase=Completed"
    assert [obj["metadata"]["name"] for obj in space.kube.select("Backup", space.namespace, labels=labels)] == [
        "backup"
    ]


def test_kubectl_wait_and_get(space: Workspace) -> None:
    """The user's own way to follow it."""
    space.ready(Disk("pattern", 4 * MIB))
    space.backup()
    kubectl("-n", space.namespace, "wait", "backup/backup", "--for=condition=Ready", "--timeout=180s")
    shown = kubectl("-n", space.namespace, "get", "backups")
    columns = ["NAME", "VM", "TYPE", "PHASE", "PROGRESS", "RATE", "DURATION", "STORED", "REPOSITORY"]
    assert shown.split()[:9] == columns
    assert "Completed" in shown
    assert "100%" in shown
