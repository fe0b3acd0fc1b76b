"""`sendense status`: problems first, and what a missing right leaves."""

from __future__ import annotations

from typing import Any

from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine


def vm(name: str, protected: str = "", reason: str = "WithinObjective", message: str = "", **status: Any) -> Obj:
    """Return a Ready ProtectedVM."""
    found = sample.ready_status("Found", **status)
    if protected:
        found["conditions"].append(sample.condition("Protected", reason, message, status=protected))
    return sample.protected_vm(name, found)


def fill(cli: CommandLine) -> None:
    cli.api.put(
        vm("good", "True", latestTime="2026-11-27T20:00:00Z", policy="nightly", nextTime="2099-01-01T00:00:00Z")
    )
    cli.api.put(vm("late", "False", "TooOld", "point p is older than allowed", latestTime="2026-11-01T20:00:00Z"))
    cli.api.put(vm("never"))
    cli.api.put(vm("alone", latestTime="2026-11-27T20:00:00Z"))
    cli.api.put(vm("broken", latestTime="2026-11-27T20:00:00Z", policy="nightly"))
    failed = sample.ready_status("WritesLost", status="False", message="bytes are missing", phase="Failed")
    cli.api.put(sample.backup("broken-1", {**failed, "completionTime": "2026-11-27T21:00:00Z"}, vm="broken"))
    running = {"phase": "Running", "progress": {"percent": 42}}
    cli.api.put(sample.backup("good-2", running, vm="good"))


def test_problems_come_first(cli: CommandLine) -> None:
    fill(cli)
    done = cli.run("status")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "5 VMs: 3 with problems 1 warning 1 fine 1 backup running"
    assert "! broken: LastBackupFailed: broken-1: WritesLost: bytes are missing" in done.lines
    assert "! late: TooOld: point p is older than allowed" in done.lines
    rows = done.lines[done.lines.index("") + 2 :]
    assert [row.split()[0] for row in rows] == ["broken", "late", "never", "alone", "good"]
    assert "Protected (42%)" in rows[-1]
    assert "2026-11-27 21:00 CET" in rows[-1]
    assert "nightly" in rows[-1]


def test_a_failure_before_the_newest_point_is_history(cli: CommandLine) -> None:
    fill(cli)
    cli.api.put(vm("broken", latestTime="2026-11-27T22:00:00Z", policy="nightly"))
    assert next(row for row in cli.run("status", "-o", "json").json if row["vm"] == "broken")["state"] == "NoObjective"


def test_why_a_vm_misses_its_objective(cli: CommandLine) -> None:
    cli.api.put(vm("db", "False", "TooOld", "p is too old", latestTime="2026-11-01T20:00:00Z"))
    failed = sample.ready_status("WritesLost", status="False", message="bytes are missing", phase="Failed")
    cli.api.put(sample.backup("db-1", {**failed, "completionTime": "2026-11-27T21:00:00Z"}))
    expected = "! db: TooOld: p is too old; the last backup failed: db-1: WritesLost: bytes are missing"
    assert expected in cli.run("status").lines


def test_all_fits_into_80_columns_of_a_terminal(cli: CommandLine) -> None:
    fill(cli)
    assert max(len(line) for line in cli.run("status").lines if not line.startswith("!")) <= 80


def test_what_is_not_ready_is_named(cli: CommandLine) -> None:
    stalled = sample.ready_status("ClaimMissing", status="False", message="there is no claim x")
    cli.api.put(sample.repository("store", stalled))
    cli.api.put(sample.appliance("vma"))
    lines = cli.run("status").lines
    assert "! BackupRepository store: ClaimMissing: there is no claim x" in lines
    assert "! VMwareAppliance vma: not reconciled yet" in lines


def test_for_programs(cli: CommandLine) -> None:
    fill(cli)
    found = cli.run("status", "late", "-o", "json").json
    assert [(row["vm"], row["level"], row["state"]) for row in found] == [("late", "Problem", "TooOld")]
    assert found[0]["newestTime"] == "2026-11-01T20:00:00+00:00"
    assert cli.run("status", "late", "-o", "name").out == "protectedvm.backup.sendense.io/late\n"
    assert "state: TooOld" in cli.run("status", "late", "-o", "yaml").out


def test_a_vm_that_is_not_there(cli: CommandLine) -> None:
    done = cli.run("status", "nobody")
    assert done.code == 1
    assert done.err.splitlines() == ["error: no ProtectedVM nobody", "`sendense vms` lists those that there are"]


def test_what_vanished_is_a_problem(cli: CommandLine) -> None:
    cli.api.put(vm("old", "True", latestTime="2026-11-27T20:00:00Z", vanishedTime="2026-11-27T20:00:00Z"))
    assert cli.run("status", "-o", "json").json[0]["state"] == "Vanished"


def test_objects_of_any_shape_break_nothing(cli: CommandLine) -> None:
    """Of older and newer operators."""
    cli.api.put({"kind": "ProtectedVM", "metadata": {"namespace": "shop", "name": "a"}})
    cli.api.put(vm("b", latestTime=7, policy=["x"], nextTime="soon", future={"x": 1}))
    cli.api.put({"kind": "Backup", "metadata": {"namespace": "shop", "name": "c"}, "status": {"phase": "Failed"}})
    done = cli.run("status")
    assert done.code == 0
    assert "a: NeverBackedUp" in done.out
