"""`sendense describe`: by name and by kind, with conditions, disks and Events."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine


def event(reason: str, message: str, **more: object) -> Obj:
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": f"e-{reason}"}, "reason": reason,
        "message": message, "involvedObject": {"kind": "Backup", "name": "one"}, "type": "Normal",
        "lastTimestamp": "2026-11-27T20:00:00Z", **more,
    }  # fmt: skip


@pytest.fixture
def filled(cli: CommandLine) -> CommandLine:
    disk = {"id": 0, "virtualSize": 1 << 30, "percent": 100, "storedBytes": 1 << 20, "type": "Incremental", "depth": 2,
            "parent": "zero"}  # fmt: skip
    status = sample.ready_status("Completed", message="2 layers [bold]written[/bold]", phase="Completed", disks=[disk])
    cli.api.put(sample.backup("one", status, vm="db"))
    cli.api.put(sample.repository("store", sample.ready_status("Fine", capacity={"free": "1 GiB of 2 GiB"})))
    cli.api.put(event("Committed", "1 MiB stored", count=2))
    return cli


def test_a_backup(filled: CommandLine) -> None:
    done = filled.run("describe", "one")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "Backup shop/one"
    assert any(line.split() == ["VM", "db"] for line in done.lines)
    assert "  2 layers [bold]written[/bold]" in done.lines
    assert any(
        line.split() == ["0", "Incremental", "1.0", "GiB", "100%", "1.0", "MiB", "2", "zero"] for line in done.lines
    )
    assert "  2026-11-27 21:00 CET Committed 1 MiB stored (2 times)" in done.lines


@pytest.mark.parametrize("word", ["brepo", "BackupRepository", "backuprepositories"])
def test_by_kind(filled: CommandLine, word: str) -> None:
    done = filled.run("describe", f"{word}/store")
    assert done.lines[0] == "BackupRepository shop/store"
    assert any(line.split() == ["Free", "1.0", "GiB"] or "1 GiB of 2 GiB" in line for line in done.lines)


def test_a_name_alone_is_looked_up(filled: CommandLine) -> None:
    assert filled.run("describe", "store").lines[0] == "BackupRepository shop/store"
    done = filled.run("describe", "nothing")
    assert done.code == 1
    assert done.err.splitlines()[0] == "error: nothing is called nothing in namespace shop"


def test_a_kind_that_there_is_not(filled: CommandLine) -> None:
    assert filled.run("describe", "secret/x").code == 2


def test_several_and_json(filled: CommandLine) -> None:
    lines = filled.run("describe", "one", "store").lines
    assert {"Backup shop/one", "BackupRepository shop/store"} <= set(lines)
    assert filled.run("describe", "one", "-o", "json").json["metadata"]["name"] == "one"


def test_an_object_of_another_version(cli: CommandLine) -> None:
    cli.api.put({"kind": "Backup", "metadata": {"name": "odd"}, "status": {"conditions": "x", "disks": [{"id": "x"}]}})
    assert cli.run("describe", "odd").code == 0
