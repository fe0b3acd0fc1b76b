"""`sendense cancel`, `wait`, `verify` and `logs`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine

from sendense_operator.api.v1alpha1.names import ANNOTATION_VERIFY
from sendense_operator.cli import waits


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_S", 0.001)


def becomes(obj: Obj, status: Callable[[Obj], Obj]) -> Callable[[], None]:
    def change() -> None:
        obj["status"] = status(obj)

    return change


def test_cancelling(cli: CommandLine) -> None:
    backup = cli.api.put(sample.backup("b", {"phase": "Running"}))
    cli.api.after = [lambda: None, becomes(backup, lambda _: {"phase": "Cancelled"})]
    done = cli.run("cancel", "b", "--wait")
    assert cli.api.written("PATCH") == [{"spec": {"cancel": True}}]
    assert (done.code, done.lines[0], done.lines[-1]) == (0, "Backup b is being cancelled", "b: Cancelled")


def test_cancelling_what_completes_first(cli: CommandLine) -> None:
    backup = cli.api.put(sample.backup("b", {"phase": "Running"}))
    cli.api.after = [lambda: None, becomes(backup, lambda _: {"phase": "Completed"})]
    assert cli.run("cancel", "b", "--wait").code == 1


def test_cancelling_a_restore(cli: CommandLine) -> None:
    cli.api.put(sample.restore("r", {"phase": "Running"}))
    assert cli.run("cancel", "r").lines == ["Restore r is being cancelled"]
    assert cli.run("cancel", "restore/r", "-o", "name").lines == ["restore.backup.sendense.io/r"]


def test_what_can_not_be_cancelled(cli: CommandLine) -> None:
    cli.api.put(sample.backup("b", {"phase": "Completed"}))
    assert "error: Backup b has ended already: Completed" in cli.run("cancel", "b").err
    assert "error: no Backup or Restore x in namespace shop" in cli.run("cancel", "x").err
    assert cli.run("cancel", "brepo/x").code == 2
    cli.api.put(sample.backup("c", {"phase": "Pending"}))
    cli.api.forbidden = {("patch", "backups")}
    assert "error: you may not patch backups.backup.sendense.io in namespace shop" in cli.run("cancel", "c").err
    assert cli.api.written("PATCH") == [{"spec": {"cancel": True}}], "the one that was refused"


def test_waiting_for_what_was_applied(cli: CommandLine) -> None:
    backup = cli.api.put(sample.backup("b", {"phase": "Running"}))
    restore = cli.api.put(sample.restore("r", {"phase": "Pending"}))
    completed = {"phase": "Completed"}
    cli.api.after = [lambda: None] * 3 + [becomes(backup, lambda _: completed), becomes(restore, lambda _: completed)]
    done = cli.run("wait", "r", "b", "r")
    assert (done.code, done.lines[-1]) == (0, "r: Completed")
    assert "b: Completed" in done.lines
    assert cli.api.written("PATCH") == []
    names = ["backup.backup.sendense.io/b", "restore.backup.sendense.io/r"]
    assert cli.run("wait", "b", "restore/r", "-o", "name").lines == names


@pytest.mark.parametrize(("phase", "code"), [("Failed", 1), ("Cancelled", 1), ("Completed", 0)])
def test_the_exit_code_tells_whether_it_completed(cli: CommandLine, phase: str, code: int) -> None:
    cli.api.put(sample.backup("b", {"phase": phase}))
    assert cli.run("wait", "b").code == code


def test_waiting_has_a_limit(cli: CommandLine) -> None:
    cli.api.put(sample.backup("b", {"phase": "Pending"}))
    done = cli.run("wait", "b", "--timeout", "0.01")
    assert done.code == 124
    assert "Backup b goes on" in done.err
    assert "error: no Backup or Restore x in namespace shop" in cli.run("wait", "x").err
    assert "a ProtectedVM can't be waited for" in cli.run("wait", "pvm/db").err


def test_verifying(cli: CommandLine) -> None:
    cli.api.put(sample.backup("b", {"phase": "Completed"}))
    done = cli.run("verify", "b")
    assert (done.code, done.lines) == (0, ["verification of Backup b requested"])
    (patch,) = cli.api.written("PATCH")
    assert patch["metadata"]["annotations"][ANNOTATION_VERIFY]


@pytest.mark.parametrize(("status", "code", "reason"), [("True", 0, "Verified"), ("False", 1, "Damaged")])
def test_waiting_for_the_result(cli: CommandLine, status: str, code: int, reason: str) -> None:
    backup = cli.api.put(sample.backup("b", {"phase": "Completed"}))

    def verified(obj: Obj) -> Obj:
        request = obj["metadata"]["annotations"][ANNOTATION_VERIFY]
        condition = sample.condition("Verified", reason, "all of it", status=status)
        return {"verification": {"request": request}, "conditions": [condition]}

    cli.api.after = [lambda: None, becomes(backup, verified)]
    done = cli.run("verify", "b", "--wait")
    assert (done.code, done.lines[-1]) == (code, f"b: {reason} all of it")


def test_verifying_a_vm(cli: CommandLine) -> None:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    cli.api.put(sample.custom("BackupChain", "db-store", spec, {}))
    assert cli.run("verify", "--vm", "db").lines == ["verification of BackupChain db-store requested"]
    assert cli.run("verify").code == 2
    assert cli.run("verify", "b", "--vm", "db").code == 2


def pod(cli: CommandLine, name: str, *records: Obj | str, phase: str = "Succeeded", age: float = 0) -> Obj:
    made = sample.pod(name, phase, age=age)
    made["metadata"]["labels"] = {"backup.sendense.io/backup": "b"}
    cli.api.logs[name] = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records)
    return cli.api.put({"apiVersion": "v1", "kind": "Pod", **made})


def test_logs(cli: CommandLine) -> None:
    record = {"time": "2026-11-27T20:00:00.123Z", "level": "WARNING", "logger": "x", "event": "layer [b]", "disk": 0}
    pod(cli, "p2", record, age=9)
    pod(cli, "p1", "no \x1b[31mJSON", record | {"event": "first", "name": "\x1b[2J"})
    done = cli.run("logs", "b")
    assert done.lines == ["no [31mJSON", "21:00:00 WARNING first disk=0 name=[2J", "21:00:00 WARNING layer [b] disk=0"]
    raw = cli.run("logs", "b", "--raw").out
    assert '"event": "layer [b]"' in raw
    assert "\x1b" not in raw


def test_logs_that_grow(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from sendense_operator.cli.actions import pod_logs  # noqa: PLC0415 - to shorten its pause

    monkeypatch.setattr(pod_logs, "_POLL_S", 0.001)
    running = pod(cli, "p1", "one", phase="Running")

    def end() -> None:
        cli.api.logs["p1"] = "one\ntwo\n"
        running["status"]["phase"] = "Succeeded"

    real = cli.api.answer

    def answer(method: str, target: str, body: object) -> tuple[int, object]:
        found = real(method, target, body)
        if "/log" in target:
            end()
        return found

    monkeypatch.setattr(cli.api, "answer", answer)
    assert cli.run("logs", "b", "--follow").lines == ["one", "two"]


def test_no_pod(cli: CommandLine) -> None:
    assert "error: b has no pod: not yet, or not any more" in cli.run("logs", "b").err
    cli.api.forbidden = {("list", "pods")}
    done = cli.run("logs", "b")
    assert done.code == 1
    assert "you may not list pods in namespace shop" in done.err
