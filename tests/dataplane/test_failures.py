"""Backups that must not succeed: nothing is committed, nothing is left, and the reason is reported."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.host import small_file_system, until
from tests.dataplane.rig import Bench, Worker
from tests.dataplane.vma import IMPATIENT_VMA, PASSWORD, RELEASE_SECONDS, Vma

from sendense_operator.task import ExitCode, ProbeTask, Removal
from sendense_operator.worker.storage.repository_marker import capacity

MIB = 1 << 20
QUICK = {"cancel": 1}
"""No other clock is short but the one that is to strike: how long a program takes to start depends on the machine."""
STEPS = 10
"""Of the commit of a full of two disks: intent, four renames, two folders, manifest, its folder, done."""
COMMITTED = 8
"""From this step on the manifest is there."""


def assert_nothing_left(bench: Bench) -> None:
    assert bench.files() == set()


def failed(bench: Bench, worker: Worker, reason: str, code: ExitCode) -> str:
    assert worker.wait() == code, worker.log()
    answer = worker.answer
    assert (answer.outcome, answer.reason) == ("Failed", reason), answer.message
    assert_nothing_left(bench)
    assert PASSWORD not in worker.log() + answer.to_message()
    return answer.message


@pytest.mark.parametrize("whole", ["WholeDisk", "AllocatedOnly"])
def test_an_export_that_loses_its_writes(bench: Bench, vma: Vma, tmp_path: Path, whole: str) -> None:
    """A qemu-nbd in front of the real one swaps the image for a null driver."""
    script = tmp_path / "bin" / "qemu-nbd"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/bash\n"
        'last="${@: -1}"\n'
        f'[[ "$last" == *blkdebug* ]] && set -- "${{@:1:$#-1}}" driver=null-co,size={32 * MIB},read-zeroes=on\n'
        f'PATH="${{PATH#*:}}" exec qemu-nbd "$@"\n'
    )
    script.chmod(0o755)
    vm = vma.make_vm({"size": 32 * MIB, "kind": "random"})
    worker = bench.start(bench.task(vm, appliance={"fullCoverage": whole}), path=str(script.parent))
    assert "writes were lost" in failed(bench, worker, "WritesLost", ExitCode.RETRY)


@pytest.mark.parametrize("zeroes", ["Refuse", "Trust"])
def test_a_disk_that_was_half_written(bench: Bench, vma: Vma, zeroes: str) -> None:
    if zeroes == "Trust":
        vma.call("PATCH", "settings", {"zeroes": "exact"})
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"}, {"size": 64 * MIB, "kind": "random"})
    vma.fault("client", "half", disk=1)
    worker = bench.start(bench.task(vm, appliance={"zeroWrites": zeroes}))
    assert "disk 1" in failed(bench, worker, "IncompleteCopy", ExitCode.RETRY)


def test_only_some_disks_completed(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"}, {"size": 8 * MIB, "kind": "random"})
    vma.fault("client", "partial", disks=1)
    worker = bench.start(bench.task(vm, clocks={"reconnect": 1.5, **QUICK}))
    failed(bench, worker, "NextDiskMissing", ExitCode.RETRY)


def test_the_client_dies(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 64 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=16 * MIB)
    vma.fault("client", "die", bytes=16 * MIB)
    worker = bench.start(bench.task(vm, clocks={"reconnect": 1.5, **QUICK}))
    failed(bench, worker, "ConnectionLost", ExitCode.RETRY)


def test_accepted_and_silent(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    vma.fault("client", "silent")
    worker = bench.start(bench.task(vm, clocks={"first_sign": 1, **QUICK}))
    failed(bench, worker, "NoSignOfLife", ExitCode.RETRY)


def test_our_own_server_dies(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 128 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=16 * MIB)
    worker = bench.start(bench.task(vm, clocks=QUICK))
    worker.until_copying()
    worker.kill_nbd(0)
    failed(bench, worker, "ExportGone", ExitCode.RETRY)


@pytest.mark.parametrize(
    ("fault", "changes", "reason", "words"),
    [
        ({"on": "vcenter", "mode": "password", "count": 0}, {}, "VCenterRefused", "incorrect user name or password"),
        (None, {"appliance": {"vmPath": "/DC1/vm/none"}}, "VMNotFound", "not found"),
    ],
)
def test_preflight(
    bench: Bench, vma: Vma, fault: dict[str, Any] | None, changes: dict[str, Any], reason: str, words: str
) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    if fault:
        vma.fault(**fault)
    began = time.monotonic()
    message = failed(bench, bench.start(bench.task(vm, **changes)), reason, ExitCode.FATAL)
    assert words in message
    # far below the five minutes that the VMA would be given for a first sign
    assert time.monotonic() - began < 60
    assert vma.starts() == 0


def test_a_vcenter_that_stays_away_is_worth_another_attempt(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    vma.fault("vcenter", "down", count=0)
    worker = bench.start(bench.task(vm, clocks={"vcenter": 1}))
    assert "connection refused" in failed(bench, worker, "VCenterUnreachable", ExitCode.RETRY)
    assert vma.starts() == 0


def test_a_vcenter_that_comes_back(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 2 * MIB, "kind": "random"})
    vma.fault("vcenter", "down", count=2)
    assert bench.run(bench.task(vm)).outcome == "Completed"


def test_disks_that_changed(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    vm["disks"][0]["size"] -= MIB
    failed(bench, bench.start(bench.task(vm)), "DisksChanged", ExitCode.FATAL)


def test_disks_that_change_after_the_preflight(bench: Bench, vma: Vma, tmp_path: Path) -> None:
    """A proof of the parent takes hours: what the appliance would copy by then is requested again before the start."""
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    script, begun, go_on = tmp_path / "bin" / "qemu-nbd", tmp_path / "begun", tmp_path / "go-on"
    script.parent.mkdir()
    wait = f"touch {begun}; until [ -e {go_on} ]; do sleep 0.05; done"
    script.write_text(f'#!/bin/bash\n{wait}\nPATH="${{PATH#*:}}" exec qemu-nbd "$@"\n')
    script.chmod(0o755)
    worker = bench.start(bench.task(vm), path=str(script.parent))
    until(begun.exists, "an export that begins")
    vma.make_vm({"size": 9 * MIB, "kind": "random"})
    go_on.touch()
    failed(bench, worker, "DisksChanged", ExitCode.FATAL)
    assert vma.starts() == 0


def test_the_vma_is_down(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    worker = bench.start(bench.task(vm, appliance={"url": "http://127.0.0.1:1"}))
    failed(bench, worker, "ApplianceUnreachable", ExitCode.RETRY)


def test_a_file_system_that_fills_up(bench: Bench, vma: Vma) -> None:
    """First only as far as room is to be kept; then ENOSPC at the client, and a flush that succeeds all the same.

    No other test may write to it: the room that is left decides.
    """
    vm = vma.make_vm({"size": 128 * MIB, "kind": "random"})
    with small_file_system(bench.repository) as folder:
        if folder is None:
            pytest.skip("no small file system may be mounted here")
        bench.repository = folder
        assert bench.probe().outcome == "Completed"
        keep_room(bench, vma, vm)
        failed(bench, bench.start(bench.task(vm, clocks=QUICK)), "RepositoryFull", ExitCode.FATAL)
        remove_from_a_full_volume(bench, vma)


def keep_room(bench: Bench, vma: Vma, vm: dict[str, Any]) -> None:
    """The copy is stopped when less is left than the task says."""
    vma.fault("client", "rate", bytes_per_second=32 * MIB, count=1)
    worker = bench.start(bench.task(vm, minFree=capacity(bench.repository).free - 16 * MIB, clocks=QUICK))
    assert "bytes are free" in failed(bench, worker, "RepositoryFull", ExitCode.FATAL)
    assert capacity(bench.repository).free > 0


def remove_from_a_full_volume(bench: Bench, vma: Vma) -> None:
    """Only removing makes room again. The chain was never removed from, and its last writer was of an older version."""
    task = bench.task(vma.make_vm({"size": 8 * MIB, "kind": "random"}))
    assert bench.run(task).outcome == "Completed"
    (bench.repository / "shop/db/.owner").unlink()
    other = bench.repository / "other"
    with other.open("wb") as file, contextlib.suppress(OSError):
        while file.write(bytes(64 << 10)):
            file.flush()
    removal = Removal(vm=task.vm, backup=task.backup, backup_uid=task.backup_uid)
    probe = ProbeTask(namespace="shop", repository="r", repository_uid=bench.repository_id)
    stays = bench.start(probe)
    assert stays.wait() != ExitCode.COMPLETED
    assert stays.answer.reason == "RepositoryFull"
    assert bench.run(probe.model_copy(update={"remove": (removal,)})).outcome == "Completed"
    assert bench.files() == {"other"}


def test_terminated_in_the_middle(bench: Bench, vma: Vma) -> None:
    vma.call("PATCH", "settings", IMPATIENT_VMA)
    vm = vma.make_vm({"size": 96 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=16 * MIB)
    worker = bench.start(bench.task(vm, clocks={"cancel": RELEASE_SECONDS}))
    worker.until_copying(4 * MIB)
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.process.poll() is not None or worker.progress(), "an answer")
    assert worker.wait() == ExitCode.RETRY
    assert time.monotonic() - began < 45, "the time that a pod is given"
    assert worker.answer.outcome == "Cancelled"
    assert_nothing_left(bench)
    assert vma.live_clients() == 0


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_in_the_commit(bench: Bench, vma: Vma, step: int) -> None:
    """The next attempt finishes what the intent says, or begins anew where there is none; a manifest is the end."""
    vm = vma.make_vm({"size": 4 * MIB + 512, "kind": "random"}, {"size": 2 * MIB, "kind": "random"})
    task = bench.task(vm)
    worker = bench.start(task, stop_at=step)
    assert worker.wait() == -signal.SIGKILL, worker.log()
    assert bool([name for name in bench.files() if name.endswith(".json")]) is (step >= COMMITTED)
    answer = bench.run(task)
    assert (answer.outcome, answer.adopted) == ("Completed", step > 0)
    assert vma.starts() == (1 if step else 2)
    bench.assert_identical(vm, answer)
    assert len(bench.files()) == 5


def test_the_commit_has_no_further_step(bench: Bench, vma: Vma) -> None:
    """Else the test above would not be of all of them."""
    vm = vma.make_vm({"size": 4 * MIB, "kind": "random"}, {"size": 2 * MIB, "kind": "random"})
    worker = bench.start(bench.task(vm), stop_at=STEPS)
    assert worker.wait() == ExitCode.COMPLETED, worker.log()


def test_killed_in_the_copy_then_probed(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 64 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=MIB)
    worker = bench.start(bench.task(vm))
    worker.until_copying()
    assert bench.run(ProbeTask(namespace="s", repository="r", repository_uid=bench.repository_id)).swept == 0
    assert worker.process.poll() is None
    assert bench.files()
    worker.stop()
    assert bench.probe().swept == 1
    assert_nothing_left(bench)


def test_another_pod_writes_the_chain(bench: Bench, vma: Vma) -> None:
    vm = vma.make_vm({"size": 8 * MIB, "kind": "random"})
    chain = bench.repository / "shop" / "db"
    chain.mkdir(parents=True)
    holder = os.open(chain / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        failed(bench, bench.start(bench.task(vm)), "ChainBusy", ExitCode.RETRY)
    finally:
        os.close(holder)
    assert vma.starts() == 0


def test_a_worker_that_lost_its_lock_stops(bench: Bench, vma: Vma) -> None:
    """Its partial is not its to remove any more."""
    vm = vma.make_vm({"size": 32 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=4 * MIB)
    worker = bench.start(bench.task(vm, clocks=QUICK))
    worker.until_copying()
    (bench.repository / "shop" / "db" / ".owner").write_text('{"podUID": "another"}')
    assert worker.wait() == ExitCode.RETRY
    assert worker.answer.reason == "Fenced", worker.answer.message
    assert not [name for name in bench.files() if not name.endswith(".partial")]


def test_a_stranger_at_an_export(bench: Bench, vma: Vma) -> None:
    """One that only checks whether the port is open is let be; one that speaks ends the attempt."""
    vm = vma.make_vm({"size": 64 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=4 * MIB)
    worker = bench.start(bench.task(vm, allowedFrom=["192.0.2.0/24"], clocks=QUICK))
    worker.until_copying(MIB)
    address = ("127.0.0.1", bench.nbd_port)
    with socket.create_connection(address, source_address=("127.0.0.2", 0)):
        before = worker.until_copying(MIB).disks[0].received_bytes
        worker.until_copying(before + 4 * MIB)
    with socket.create_connection(address, source_address=("127.0.0.3", 0)) as outsider:
        outsider.sendall(bytes(4))
        message = failed(bench, worker, "ForeignPeer", ExitCode.RETRY)
    assert "127.0.0.3 was connected to the export of disk 0" in message
    assert "allowedFrom" in message
