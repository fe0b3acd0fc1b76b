"""The VMA fails in all the ways it knows: bounded retries, never a second start, a reason that says where to look."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import images
from tests.support.doors import Door
from tests.support.outcomes import (
    PATIENCE,
    completed,
    completed_by_the_second_attempt,
    completed_with_one_start,
    failed,
)
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

SMALL = Disk("pattern", 4 * MIB)
TWO = (Disk("random", 8 * MIB), Disk("random", 8 * MIB))
SOME = 3 * MIB
"""Bytes after which a client fails: in the middle of its first disk."""
HINT = "log on the appliance"
QUICK = {"timeouts": {"firstSignSeconds": 8, "firstSignCbtSeconds": 8}}
"""For clients that never show a sign of life."""
QUICK_COPY = {"timeouts": {"reconnectSeconds": 8, "stallSeconds": 8}}
"""For clients that stop in their copy."""


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [
        ("error", "ApplianceError", "500"),
        ("garbage", "NoSignOfLife", HINT),
        ("no-answer", "NoSignOfLife", HINT),
    ],
)
def test_a_start_that_does_nothing(space: Workspace, mode: str, reason: str, words: str) -> None:
    space.ready(SMALL, appliance=QUICK)
    space.vma.fault("start", mode)
    space.backup()
    assert words in failed(space, reason)
    assert len(space.vma.starts()) == 1
    assert space.vma.events("job_started") == []


@pytest.mark.parametrize(
    "fault", [{"mode": "accept-no-answer"}, {"mode": "accept-garbage"}, {"mode": "slow", "seconds": 8}], ids=str
)
def test_a_start_that_works_but_does_not_say_so(space: Workspace, fault: dict[str, Any]) -> None:
    """It is never sent again: two clients would write under one record. The signs of life decide."""
    space.ready(*TWO)
    space.vma.fault("start", **fault)
    space.backup(retries=2)
    assert completed_with_one_start(space)["attempts"] == 1


@pytest.mark.parametrize(
    ("fault", "reasons", "words"),
    [
        ({"mode": "die", "bytes": SOME}, ["ConnectionLost"], HINT),
        ({"mode": "deadlock", "bytes": SOME}, ["Stalled"], HINT),
        ({"mode": "partial", "disks": 1}, ["NextDiskMissing", "ConnectionLost"], HINT),
        ({"mode": "half", "disk": 1}, ["IncompleteCopy"], "disk 1"),
    ],
    ids=lambda value: value["mode"] if isinstance(value, dict) else "",
)
def test_a_client_that_fails(space: Workspace, fault: dict[str, Any], reasons: list[str], words: str) -> None:
    """Without retries: Failed, nothing is left, and the message says what to look at."""
    space.ready(*TWO, appliance=QUICK_COPY)
    space.vma.fault("client", **fault)
    space.backup()
    assert words in failed(space, *reasons)
    assert len(space.vma.starts()) == 1


@pytest.mark.parametrize("mode", ["silent", "hang"])
def test_a_client_that_never_begins(space: Workspace, mode: str) -> None:
    space.ready(SMALL, appliance=QUICK)
    space.vma.fault("client", mode)
    space.backup()
    assert HINT in failed(space, "NoSignOfLife")
    assert len(space.vma.starts()) == 1


@pytest.mark.parametrize(
    "fault",
    [{"mode": "die", "bytes": SOME}, {"mode": "deadlock", "bytes": SOME}, {"mode": "half", "disk": 0}],
    ids=lambda fault: str(fault["mode"]),
)
def test_a_client_that_fails_once(space: Workspace, fault: dict[str, Any]) -> None:
    """With a retry: all new, from a fresh partial, and complete."""
    space.ready(*TWO, appliance=QUICK_COPY)
    space.vma.fault("client", **fault)
    space.backup(retries=1)
    completed_by_the_second_attempt(space)


def test_retries_are_bounded(space: Workspace) -> None:
    space.ready(SMALL)
    space.vma.fault("start", "error", count=0)
    space.backup(retries=1)
    failed(space, "ApplianceError")
    assert len(space.vma.starts()) == 2


def test_a_flaky_server(space: Workspace) -> None:
    """What is only asked is asked again; what the VMA says of its progress is not needed at all."""
    space.ready(*TWO)
    space.wait_ready("vm", "ProtectedVM")
    for call, mode in (("discover", "error"), ("discover", "garbage"), ("cbt-status", "error")):
        space.vma.fault(call, mode)
    space.vma.fault("progress", "garbage", count=0)
    space.vma.fault("client", "no-telemetry")
    space.backup(retries=2)
    completed(space)
    assert len(space.vma.starts()) == 1


@pytest.mark.parametrize(
    ("call", "mode", "reason"),
    [
        ("cbt-status", "error", "ApplianceError"),
        ("cbt-status", "garbage", "ApplianceError"),
        ("cbt-status", "no-answer", "ApplianceUnreachable"),
        ("discover", "garbage", "StartDeadlineExceeded"),
    ],
)
def test_a_server_that_never_answers_well(space: Workspace, call: str, mode: str, reason: str) -> None:
    """Nothing is started then."""
    space.ready(SMALL)
    space.vma.fault(call, mode, count=0)
    space.backup(startDeadlineSeconds=20 if call == "discover" else 120)
    assert call in failed(space, reason)
    assert space.vma.starts() == []


@pytest.mark.parametrize(("seconds", "reason"), [(6, None), (60, "SnapshotTimeout")])
def test_a_slow_snapshot(space: Workspace, seconds: int, reason: str | None) -> None:
    space.ready(SMALL, appliance={"timeouts": {"snapshotSeconds": 20 if reason is None else 5}})
    space.vma.fault("client", "slow-snapshot", seconds=seconds)
    space.backup()
    if reason is None:
        completed_with_one_start(space)
    else:
        assert "vCenter" in failed(space, reason)


def test_the_last_restore_point_outlives_a_failure(space: Workspace) -> None:
    space.ready(*TWO, appliance=QUICK_COPY)
    space.backup("good")
    space.wait_phase("Completed", "good", timeout=PATIENCE)
    before = space.folders["repo"].files()
    space.vma.fault("client", "die", bytes=SOME)
    space.backup("bad")
    space.wait_phase("Failed", "bad", timeout=PATIENCE)
    assert space.folders["repo"].files() == before
    images.assert_identical(space, "good")


@pytest.fixture
def door(space: Workspace) -> Door:
    """Everything is there for a backup of two disks, of an appliance that can be shut off; it is open."""
    door = Door(space.kube, space.namespace, space.vma)
    door.open()
    # Longer than the clock of an appliance that is silent takes, its last health call included.
    space.ready(*TWO, appliance={"url": door.url, "timeouts": {"stallSeconds": 45}})
    return door


def test_down_before_the_start(space: Workspace, door: Door) -> None:
    space.wait_ready("vma", "VMwareAppliance")
    space.wait_ready("repo", "BackupRepository")
    door.shut()
    space.wait_reason("ApplianceUnreachable", "vma", "VMwareAppliance")
    space.backup()
    message = space.wait_reason({"ApplianceUnreachable", "ApplianceNotReady", "VMNotReady"})
    assert "vma" in message
    assert space.status()["phase"] == "Pending"
    door.open()
    completed_with_one_start(space)


def test_down_until_the_deadline(space: Workspace, door: Door) -> None:
    space.wait_ready("vma", "VMwareAppliance")
    door.shut()
    space.backup(startDeadlineSeconds=10)
    assert "vma" in failed(space, "StartDeadlineExceeded")
    assert space.vma.starts() == []


def test_its_server_is_down_during_the_copy(space: Workspace, door: Door) -> None:
    """Bytes go on to arrive, and the callbacks: so nothing is wrong with this backup."""
    space.vma.fault("client", "rate", bytes_per_second=MIB)
    space.backup()
    space.wait_copying(timeout=PATIENCE)
    door.shut()
    completed_with_one_start(space)


def test_all_of_it_dies_during_the_copy(space: Workspace, door: Door) -> None:
    space.vma.fault("client", "rate", bytes_per_second=MIB // 2)
    space.backup()
    job = str(space.wait_copying(timeout=PATIENCE)["job_id"])
    door.shut()
    space.vma.command(job, "kill")
    wait_for("the client gone", lambda: until(not space.vma.jobs()[0]["alive"], space.vma.jobs()))
    assert HINT in failed(space, "ConnectionLost")


def test_it_freezes_during_the_copy(space: Workspace, door: Door) -> None:
    """Connected, but silent on both sides: the shorter clock counts."""
    space.vma.fault("client", "rate", bytes_per_second=MIB // 2)
    space.backup()
    job = str(space.wait_copying(timeout=PATIENCE)["job_id"])
    space.vma.command(job, "pause")
    door.shut()
    assert "the appliance runs" in failed(space, "ApplianceSilent")
