"""`sendense delete`: what it says before, that it asks, and how it ends."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine

from sendense_operator.cli import waits


def point(name: str, parent: str = "") -> Obj:
    disk = {
        "id": 0,
        "file": f"shop/db/disk-0/{name}.qcow2",
        "storedBytes": 1 << 20,
        **({"parent": parent} if parent else {}),
    }
    status = {
        "phase": "Completed",
        "storedBytes": 1 << 20,
        "disks": [disk],
        "manifest": "m",
        "completionTime": sample.stamp(),
    }
    return sample.backup(name, status)


@pytest.fixture
def shop(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(waits, "POLL_S", 0.001)
    cli.api.put(sample.repository("store"))
    cli.api.put(point("full"))
    cli.api.put(point("incr", "full"))
    return cli


def test_it_says_what_becomes_free_and_asks(shop: CommandLine) -> None:
    done = shop.run("delete", "incr", given="n\n")
    assert done.code == 1
    assert "incr: frees 1.0 MiB: its files are removed from the repository" in done.err
    assert "- shop/db/disk-0/incr.qcow2" in done.err
    assert "error: nothing was deleted" in done.err
    assert ("backups", "incr") in shop.api.objects


def test_no_answer_is_no(shop: CommandLine) -> None:
    assert shop.run("delete", "incr", given="").code == 1
    assert ("backups", "incr") in shop.api.objects


def test_yes(shop: CommandLine) -> None:
    done = shop.run("delete", "incr", given="y\n")
    assert (done.code, done.lines) == (0, ["Backup incr is being deleted"])
    assert ("backups", "incr") not in shop.api.objects
    (options,) = shop.api.written("DELETE")
    assert options["preconditions"]["uid"] == sample.uid_of("Backup", "incr")


def test_what_others_need_stays(shop: CommandLine) -> None:
    done = shop.run("delete", "full", "--yes")
    assert "full: frees nothing now: its files stay until incr no longer need them" in done.err
    assert done.code == 0


def test_without_the_right_to_see_the_others(shop: CommandLine) -> None:
    shop.api.forbidden = {("list", "backups")}
    done = shop.run("delete", "incr", "--yes")
    assert done.code == 0
    assert "incr: what becomes free can't be seen with your rights" in done.err


def test_without_the_right_to_delete(shop: CommandLine) -> None:
    shop.api.forbidden = {("delete", "backups")}
    done = shop.run("delete", "incr", "--yes")
    assert done.code == 1
    assert "error: you may not delete backups.backup.sendense.io in namespace shop" in done.err


def test_nothing_is_deleted_when_one_is_missing(shop: CommandLine) -> None:
    done = shop.run("delete", "incr", "gone", "--yes")
    assert done.code == 1
    assert "error: no Backup gone in namespace shop" in done.err
    assert shop.api.written("DELETE") == []


def test_waiting_until_it_is_gone(shop: CommandLine) -> None:
    assert shop.run("delete", "incr", "--yes", "--wait").code == 0
    assert shop.api.requests[-1][0] == "GET"


def test_a_deletion_that_takes_long(shop: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shop.api.answer
    monkeypatch.setattr(
        shop.api, "answer", lambda method, *rest: (200, {}) if method == "DELETE" else real(method, *rest)
    )
    done = shop.run("delete", "incr", "--yes", "--wait", "--timeout", "0.05")
    assert done.code == 124
    assert "error: the deletion of incr has not ended after 0.05 s" in done.err
