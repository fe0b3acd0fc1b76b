"""`sendense backup`: what is created, how waiting ends, and with which exit code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.waiting import poll
from tests.unit.cli.conftest import CommandLine

from sendense_operator.cli import waits


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_S", 0.001)


@pytest.fixture
def shop(cli: CommandLine) -> CommandLine:
    """A VM, and one repository."""
    cli.api.put(sample.protected_vm("db", sample.ready_status(vmName="DB 01")))
    cli.api.put(sample.repository("store"))
    return cli


def then(cli: CommandLine, *states: Obj) -> None:
    """Let the only Backup have these states, one after each read of it."""

    def set_state(state: Obj) -> Callable[[], None]:
        def change() -> None:
            next(obj for (kind, _), obj in cli.api.objects.items() if kind == "backups")["status"] = state

        return change

    cli.api.after += [set_state(state) for state in states]


def running(percent: int, **more: Any) -> Obj:
    disk = {"id": 0, "percent": percent, "virtualSize": 1 << 30, "bytesTransferred": percent << 20}
    return {"phase": "Running", "stage": "Copying", "progress": {"percent": percent}, "disks": [disk], **more}


COMPLETED = sample.ready_status("Completed", phase="Completed", duration="12s", stored="5.0 MiB")


def test_what_is_created(shop: CommandLine) -> None:
    done = shop.run("backup", "db")
    assert (done.code, done.err) == (0, "")
    (made,) = shop.api.written("POST")
    assert made["spec"] == {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}, "type": "Auto"}
    assert re.fullmatch(r"db-\d{8}-\d{6}-[a-z0-9]{5}", made["metadata"]["name"])
    assert done.lines == [f"Backup {made['metadata']['name']} created: db to store, type Auto"]


def test_options(shop: CommandLine) -> None:
    done = shop.run("backup", "DB 01", "--full", "-r", "other", "--name", "mine", "-o", "name")
    (made,) = shop.api.written("POST")
    assert made["metadata"] == {"namespace": "shop", "name": "mine"}
    assert (made["spec"]["repositoryRef"]["name"], made["spec"]["type"]) == ("other", "Full")
    assert done.out == "backup.backup.sendense.io/mine\n"


def test_the_policy_says_where_to(shop: CommandLine) -> None:
    shop.api.put(sample.repository("second"))
    done = shop.run("backup", "db")
    assert done.code == 2
    assert done.err.splitlines()[1] == "one of: second, store"
    shop.api.put(sample.protected_vm("db", sample.ready_status(policy="nightly")))
    shop.api.put(sample.custom("BackupPolicy", "nightly", {"repositoryRef": {"name": "second"}}))
    assert shop.run("backup", "db").code == 0
    assert shop.api.written("POST")[-1]["spec"]["repositoryRef"]["name"] == "second"


def test_which_vm(shop: CommandLine) -> None:
    assert "error: no VM web in namespace shop" in shop.run("backup", "web").err
    shop.api.put(sample.protected_vm("db-2", sample.ready_status(vmName="DB 01")))
    done = shop.run("backup", "DB 01")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: several VMs are called DB 01")
    assert shop.api.written("POST") == []


def test_without_the_right_to_list(shop: CommandLine) -> None:
    """Whoever may create Backups and nothing else names VM and repository."""
    shop.api.forbidden = {("list", "*"), ("get", "*")}
    done = shop.run("backup", "db", "-r", "store")
    assert done.code == 0
    assert "you may not list protectedvms.backup.sendense.io in namespace shop" in done.err
    shop.api.forbidden.add(("create", "backups"))
    done = shop.run("backup", "db", "-r", "store")
    assert done.code == 1
    assert done.err.splitlines()[-2] == "error: you may not create backups.backup.sendense.io in namespace shop"


def test_waiting_for_the_end(shop: CommandLine) -> None:
    then(shop, running(12), running(13), running(57), COMPLETED)
    done = shop.run("backup", "db", "--name", "mine", "--wait")
    assert (done.code, done.err) == (0, "")
    assert done.lines[1:] == [
        "mine: Pending",
        "mine: Copying 10%",
        "mine: Copying 50%",
        "mine: Completed 12s 5.0 MiB",
    ]


def test_a_failure(shop: CommandLine) -> None:
    then(shop, sample.ready_status("WritesLost", status="False", message="bytes\x1b[2J missing", phase="Failed"))
    done = shop.run("backup", "db", "--name", "mine", "--wait")
    assert done.code == 1
    assert done.lines[-1] == "mine: Failed: WritesLost: bytes[2J missing"


def test_a_time_out_leaves_it_running(shop: CommandLine) -> None:
    done = shop.run("backup", "db", "--name", "mine", "--wait", "--timeout", "0.05")
    assert done.code == 124
    assert done.err.splitlines()[0] == "error: Backup mine has not ended after 0.05 s"
    assert "goes on" in done.err
    assert shop.api.written("PATCH") == []


def test_deleted_meanwhile(shop: CommandLine) -> None:
    def remove() -> None:
        del shop.api.objects["backups", "mine"]

    shop.api.after = [lambda: None, remove]
    done = shop.run("backup", "db", "--name", "mine", "--wait")
    assert done.code == 1
    assert "error: Backup mine was deleted meanwhile" in done.err


def test_the_name_is_taken(shop: CommandLine) -> None:
    shop.api.put(sample.backup("mine"))
    done = shop.run("backup", "db", "--name", "mine")
    assert (done.code, done.err.splitlines()[-1]) == (1, "choose another --name")


def test_the_object_for_programs(shop: CommandLine) -> None:
    then(shop, running(50), COMPLETED)
    done = shop.run("backup", "db", "--name", "mine", "--wait", "-o", "json")
    assert done.json["status"]["phase"] == "Completed"


def test_ctrl_c_ends_only_the_waiting(shop: CommandLine) -> None:
    words = ["backup", "db", "--name", "mine", "--wait", "--kubeconfig", str(shop.kubeconfig)]
    # A shell starts what runs in its background with the signal ignored, which children inherit.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{heeds}; from sendense_operator.cli.main import main; main()", *words]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    poll(lambda: any("/backups/mine" in path for _, path, _ in shop.api.requests), "it waits")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("stopped waiting: Backup mine goes on")
    assert [method for method, _, _ in shop.api.requests if method != "GET"] == ["POST"]
