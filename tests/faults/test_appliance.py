"""The appliance fails in every way it can: bounded retries, then Failed with a message that says what to look at."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import images
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace, condition

DISK = Disk("random", 16 * MIB)


def ready(space: Workspace, *disks: Disk, **appliance: Any) -> None:
    """Everything there and looked at, so that what follows meets the worker."""
    space.ready(*(disks or (DISK,)), appliance=appliance)
    space.wait_ready("repo", "BackupRepository")
    space.wait_ready("vm", "ProtectedVM")


def failed(space: Workspace, *, timeout: float = 120) -> dict[str, Any]:
    """The condition that tells why, once the Backup has failed and left nothing behind."""
    stalled = condition(space.wait_phase("Failed", timeout=timeout), "Stalled")
    folder = space.folders["repo"]
    assert folder.partials() == []
    assert folder.layers() == []
    assert folder.manifests() == []
    assert len(stalled["message"]) > 30, "says what to look at"
    return stalled


@pytest.mark.parametrize(
    ("on", "mode"), [("start", "error"), ("start", "garbage"), ("start", "no-answer"), ("start", "accept-garbage")]
)
def test_a_start_that_is_not_answered_well_once(space: Workspace, on: str, mode: str) -> None:
    """Looked up before it is started again: a second attempt gets through, no job is doubled."""
    ready(space)
    space.vma.fault(on, mode)
    space.backup(retries=1)
    space.wait_phase("Completed", timeout=150)
    images.assert_identical(space)
    started = [event["job_id"] for event in space.vma.events("job_started")]
    assert len(started) == len(set(started)), "no job id ran twice"
    assert not space.vma.events("snapshot_deleted_under_job")


def test_a_start_that_is_accepted_and_not_answered(space: Workspace) -> None:
    """The job runs, though nobody said so: it is taken, not started again."""
    ready(space)
    space.vma.fault("start", "accept-no-answer", seconds=3600)
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)
    assert len(space.vma.events("job_started")) == 1


@pytest.mark.parametrize("mode", ["error", "garbage", "no-answer"])
@pytest.mark.parametrize("on", ["start", "cbt-status", "discover"])
def test_an_appliance_that_never_answers_well(space: Workspace, on: str, mode: str) -> None:
    ready(space)
    space.vma.fault(on, mode, count=0)
    space.backup(startDeadlineSeconds=20)
    stalled = failed(space)
    assert len(space.vma.events("job_started")) == 0
    assert stalled["reason"] not in ("InternalError", "WorkerDied")


def test_progress_that_is_garbage_does_not_matter(space: Workspace) -> None:
    """Only callbacks and bytes count."""
    ready(space)
    space.vma.fault("progress", "garbage", count=0)
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)


def test_silence_after_the_job_was_accepted(space: Workspace) -> None:
    ready(space)
    space.vma.fault("client", "silent", count=0)
    space.backup()
    stalled = failed(space)
    assert stalled["reason"] == "NoSignOfLife"
    assert "log" in stalled["message"]


def test_a_client_that_hangs_before_the_snapshot(space: Workspace) -> None:
    ready(space)
    space.vma.fault("client", "hang")
    space.backup()
    assert failed(space)["reason"] in ("NoSignOfLife", "SnapshotTimeout")


def test_a_client_that_dies_in_the_middle(space: Workspace) -> None:
    ready(space)
    space.vma.fault("client", "die", bytes=8 * MIB, count=0)
    space.backup()
    failed(space)


def test_a_client_that_dies_once(space: Workspace) -> None:
    """A new attempt: new job id, new export names, a fresh partial."""
    ready(space)
    space.vma.fault("client", "die", bytes=8 * MIB)
    space.backup(retries=1)
    status = space.wait_phase("Completed", timeout=150)
    images.assert_identical(space)
    assert status["attempts"] == 2
    first, second = space.vma.starts()
    assert first["body"]["job_id"] != second["body"]["job_id"]
    assert first["body"]["nbd_targets"].split("/")[-1] != second["body"]["nbd_targets"].split("/")[-1]
    assert space.folders["repo"].partials() == []


def test_a_client_that_stops_for_ever(space: Workspace) -> None:
    """Telemetry goes on saying `running`: that is no sign of life."""
    ready(space)
    space.vma.fault("client", "deadlock", bytes=8 * MIB)
    space.backup()
    assert failed(space)["reason"] in ("Stalled", "CopyStalled", "TransferStalled", "NoProgress")


def test_only_some_disks_are_completed(space: Workspace) -> None:
    """All disks or none."""
    ready(space, Disk("random", 4 * MIB), Disk("random", 4 * MIB), Disk("random", 4 * MIB))
    space.vma.fault("client", "partial", disks=2, count=0)
    space.backup()
    failed(space)


def test_a_disk_of_which_half_was_written(space: Workspace) -> None:
    """With every `complete` in: the layer itself shows what never came."""
    ready(space, Disk("random", 16 * MIB), Disk("random", 4 * MIB))
    space.vma.fault("client", "half", disk=0, count=0)
    space.backup()
    stalled = failed(space)
    assert stalled["reason"] == "IncompleteCopy"
    assert "disk 0" in stalled["message"]


def test_an_appliance_that_goes_away_for_good(space: Workspace) -> None:
    ready(space)
    space.vma.fault("client", "rate", bytes_per_second=512 * 1024)
    space.backup()
    space.wait_copying()
    space.vma.remove()
    try:
        failed(space)
    finally:
        space.vma.configure()


def test_an_appliance_that_is_down_when_the_backup_comes(space: Workspace) -> None:
    """It waits for a while, says for what, and goes on when the appliance is back."""
    ready(space)
    faults = [space.vma.fault(on, "error", status=502, count=0) for on in ("health", "discover", "cbt-status", "start")]
    space.backup()
    space.wait_reason({"ApplianceNotReady", "ApplianceUnreachable", "ApplianceError"})
    for fault in faults:
        space.vma.clear_faults(fault)
    space.wait_phase("Completed")
    images.assert_identical(space)


def test_a_slow_snapshot_is_waited_for(space: Workspace) -> None:
    ready(space)
    space.vma.fault("client", "slow-snapshot", seconds=8)
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)


def test_a_snapshot_that_takes_too_long(space: Workspace) -> None:
    ready(space, timeouts={"snapshotSeconds": 5})
    space.vma.fault("client", "slow-snapshot", seconds=60, count=0)
    space.backup()
    assert failed(space)["reason"] == "SnapshotTimeout"


def test_the_last_restore_point_outlives_every_failure(space: Workspace) -> None:
    ready(space)
    space.backup("good")
    space.wait_phase("Completed", "good")
    space.vma.fault("client", "die", bytes=4 * MIB)
    space.backup("bad")
    space.wait_phase("Failed", "bad", timeout=120)
    images.assert_identical(space, "good")
    images.check(space, *(space.folders["repo"].path / d["file"] for d in space.status("good")["disks"]))
