"""`sendense list`: the filters, alone and together, and the forms of output."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cli.actions.backup_list import TONES


def made(name: str, age: float, *, phase: str = "Completed", ran: str = "Full", vm: str = "db", **spec: object) -> Obj:
    """Return a Backup that ended."""
    status = {"phase": phase, "type": ran, "vmName": f"VM {vm}", "stored": "1.5 GiB", "progress": {"summary": "100%"}}
    return sample.backup(name, status, vm=vm, age=age, **spec)


@pytest.fixture
def filled(cli: CommandLine) -> CommandLine:
    cli.api.put(made("one", 0))
    cli.api.put(made("two", 60, ran="Incremental", type="Auto", policyRef={"name": "nightly"}))
    cli.api.put(made("three", 120, phase="Failed", vm="web", repositoryRef={"name": "other"}))
    return cli


def names(cli: CommandLine, *filters: str) -> list[str]:
    """Return the names that a list has, in its order."""
    done = cli.run("list", *filters, "-o", "name")
    assert done.code == 0
    return [line.removeprefix("backup.backup.sendense.io/") for line in done.lines if line]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), ["three", "two", "one"]),
        (("--vm", "db"), ["two", "one"]),
        (("--vm", "VM db"), ["two", "one"]),
        (("--repository", "other"), ["three"]),
        (("--type", "incremental"), ["two"]),
        (("--phase", "Completed"), ["two", "one"]),
        (("--policy", "nightly"), ["two"]),
        (("--field-selector", "spec.type=Auto"), ["two"]),
        (("--vm", "db", "--phase", "Completed", "--type", "full", "-r", "store"), ["one"]),
        (("--limit", "2"), ["three", "two"]),
        (("--vm", "nobody"), []),
    ],
)
def test_filters(filled: CommandLine, filters: tuple[str, ...], expected: list[str]) -> None:
    assert names(filled, *filters) == expected


def test_a_name_of_vmware_that_looks_like_an_objects(cli: CommandLine) -> None:
    backup = made("one", 0)
    backup["status"]["vmName"] = "pg01"
    cli.api.put(backup)
    assert names(cli, "--vm", "pg01") == ["one"]


def test_the_table(filled: CommandLine) -> None:
    lines = filled.run("list").lines
    assert lines[0].split() == ["NAME", "VM", "TYPE", "PHASE", "DONE", "STORED", "CREATED"]
    assert lines[1].split()[:4] == ["three", "web", "Full", "Failed"]
    assert lines[1].endswith("2025-10-05 14:02 CEST")
    assert max(map(len, lines)) <= 80


def test_all_namespaces_and_json(filled: CommandLine) -> None:
    assert filled.run("list", "-A").lines[0].split()[0] == "NAMESPACE"
    assert filled.api.requests[-1][1].startswith("/apis/backup.sendense.io/v1alpha1/backups?")
    found = filled.run("list", "--vm", "web", "-o", "json").json
    assert found["kind"] == "List"
    assert found["items"][0]["metadata"]["name"] == "three"


def test_nothing(cli: CommandLine) -> None:
    assert cli.run("list").lines == ["no Backups"]
    assert cli.run("list", "--vm", "x").lines == ["no Backup fits"]


def test_a_wrong_word_is_a_matter_of_usage(cli: CommandLine) -> None:
    done = cli.run("list", "--phase", "Broken")
    assert done.code == 2
    assert "Broken" in done.err


def test_each_phase_has_a_colour() -> None:
    assert set(TONES) == set(Phase)


def test_hostile_text_stays_text(cli: CommandLine) -> None:
    """A name from vCenter may hold anything: escapes, markup, line ends, marks that turn the direction."""
    backup = made("one", 0)
    backup["spec"]["vmRef"]["name"] = "\x1b]0;owned\x07[red]x[/red]\r\n\u202eabc :smile:"
    cli.api.put(backup)
    done = cli.run("list")
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "]0;owned[red]x[/red] abc :smile:" in done.out
    for form in ("json", "yaml"):
        shown = cli.run("list", "-o", form).out
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_a_kind_that_is_not_served(cli: CommandLine) -> None:
    cli.api.unknown = {"backups"}
    done = cli.run("list")
    assert done.code == 1
    assert done.err.splitlines()[0] == "error: this cluster serves no backups"
