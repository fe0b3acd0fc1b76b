"""Increments that must not succeed: the chain stays what it was, and the next attempt begins anew on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.host import until
from tests.dataplane.rig import Bench, Worker, initialised
from tests.dataplane.test_incremental import INCREMENTS, MIB, Points, SavedPoints, kinds
from tests.dataplane.vma import Vma

from sendense_operator.task import ExitCode, Stage

SIZE = 8 * MIB
ELSEWHERE = {
    # What is written goes nowhere, what is read is zero.
    "null driver": f'set -- "${{@:1:$#-1}}" driver=null-co,size={SIZE},read-zeroes=on',
    # What is written can be read, until the export ends.
    "overlay": 'set -- --snapshot "$@"',
}


@pytest.fixture(scope="session")
def saved_points(running_vma: Vma, tmp_path_factory: pytest.TempPathFactory) -> SavedPoints:
    """A full and an increment of two disks, of which 2 MiB each have changed since."""
    folder = tmp_path_factory.mktemp("changed")
    running_vma.reset()
    with initialised(folder, running_vma) as bench:
        vm = running_vma.make_vm(*[{"size": SIZE, "kind": "random"}] * 2)
        points = Points(bench, running_vma, folder, vm)
        points.back_up(type="Full")
        points.write(3, 65536, seed=1)
        points.back_up()
        for disk in vm["disks"]:
            change = {"key": disk["key"], "ranges": [[3 * MIB, 2 * MIB]], "seed": 2}
            running_vma.call("POST", f"vms/{vm['name']}/write", change)
        return SavedPoints.of(points, folder)


@pytest.fixture
def points(saved_points: SavedPoints, bench: Bench, vma: Vma, tmp_path: Path) -> Points:
    """Them, for one test."""
    return saved_points.unpacked(bench, vma, tmp_path)


def goes_on(points: Points, task: Any) -> None:
    """The same Backup, tried again: an increment on the newest point; each point is what it was."""
    starts = points.vma.starts()
    answer = points.bench.run(task)
    assert (answer.outcome, answer.adopted) == ("Completed", False), answer.message
    assert points.vma.starts() == starts + 1
    assert kinds(answer) == INCREMENTS
    assert {disk.parent for disk in answer.disks} == {"b1"}
    points.keep(answer)
    points.assert_all_read_back()


def losing_writes(folder: Path, where: str, disk: str) -> str:
    """Return a folder with a qemu-nbd whose exports for the VMA, of that disk, put writes `where`."""
    script = folder / "bin" / "qemu-nbd"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/bash\n[[ "$*" == *{disk}*blkdebug* ]] && {ELSEWHERE[where]}\nPATH="${{PATH#*:}}" exec qemu-nbd "$@"\n'
    )
    script.chmod(0o755)
    return str(script.parent)


@pytest.mark.parametrize("disk", ["disk", "disk1"], ids=["of all disks", "of the second disk"])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_writes_that_are_lost(points: Points, bench: Bench, tmp_path: Path, where: str, disk: str) -> None:
    """The VMA completes, and the layer is a valid image that shows the parent: only what arrived tells."""
    before = bench.files()
    task = points.task()
    worker = bench.start(task, path=losing_writes(tmp_path, where, disk))
    assert worker.wait() == ExitCode.RETRY, worker.log()
    assert worker.answer.reason == "WritesLost", worker.answer.message
    assert "writes were lost" in worker.answer.message
    assert bench.files() == before
    goes_on(points, task)


@pytest.mark.parametrize(
    ("mode", "clocks", "reason"),
    [("die", {"reconnect": 1.5, "cancel": 1}, "ConnectionLost"), ("deadlock", {"stall": 4, "cancel": 6}, "Stalled")],
)
def test_a_client_that_fails(
    points: Points, bench: Bench, vma: Vma, mode: str, clocks: dict[str, float], reason: str
) -> None:
    """In the middle of the first disk's changes. One that is still there, and says so, is reported."""
    vma.call("PATCH", "settings", {"telemetry_seconds": 0.5})
    vma.fault("client", "rate", bytes_per_second=MIB)
    vma.fault("client", mode, bytes=MIB)
    before = bench.files()
    patient = points.task()
    hasty = patient.model_copy(update={"clocks": points.task(clocks=clocks).clocks})
    worker = bench.start(hasty, idle_seconds=3.0)
    assert worker.wait() == ExitCode.RETRY, worker.log()
    answer = worker.answer
    assert (answer.reason, answer.stuck_client) == (reason, mode == "deadlock"), answer.message
    assert bench.files() == before
    assert vma.live_clients() == (mode == "deadlock")
    goes_on(points, patient)


def amid_an_increment(points: Points, bench: Bench, vma: Vma, **clocks: float) -> Worker:
    """Return a worker whose client writes the 2 MiB that changed of the first disk at 512 KiB/s."""
    vma.fault("client", "rate", bytes_per_second=512 * 1024)
    worker = bench.start(points.task(clocks={"cancel": 12.0, **clocks}))
    worker.until_copying(256 * 1024)
    return worker


def test_a_cancelled_increment_keeps_its_export(points: Points, bench: Bench, vma: Vma) -> None:
    """Its client writes the rest of its disk and learns then that its job is over: nothing more is waited for."""
    kept = bench.files()
    worker = amid_an_increment(points, bench, vma, cancel=20.0, cancelIncrement=60.0)
    began = time.monotonic()
    worker.cancel()
    until(lambda: (progress := worker.progress()) and progress.stage is Stage.CANCELLING, "the stage Cancelling")
    assert "for up to 60 s" in (worker.progress() or pytest.fail("no progress")).message
    assert worker.wait() == ExitCode.FATAL, "nobody wants another attempt"
    assert time.monotonic() - began < 15, "a clean end needs no further wait"
    answer = worker.answer
    assert (answer.outcome, answer.reason, answer.stuck_client) == ("Cancelled", "Cancelled", False)
    assert "has ended and removes its snapshot" in answer.left
    until(lambda: vma.live_clients() == 0, "the client's end")
    assert bench.files() == kept


def test_a_cancelled_increment_that_takes_too_long_says_what_is_left(points: Points, bench: Bench, vma: Vma) -> None:
    # Its telemetry shows a client that hangs: some of it must arrive in the last third of the clock `cancel`.
    vma.call("PATCH", "settings", {"telemetry_seconds": 0.25})
    worker = amid_an_increment(points, bench, vma, cancel=6.0, cancelIncrement=0.5)
    worker.cancel()
    assert worker.wait() == ExitCode.FATAL
    assert worker.answer.stuck_client
    for words in ("hangs", "restart the appliance's service", "sbak-", worker.answer.job_id):
        assert words in worker.answer.left
    assert vma.live_clients() == 1
