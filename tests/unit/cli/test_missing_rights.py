"""Each command without each right: one line that names verb and resource, and what can be done is done."""

from __future__ import annotations

import re
from typing import Final

import pytest
from tests.support import sample
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.fakeapi import PLURALS

from sendense_operator.cli import waits
from sendense_operator.cli.main import app

OURS: Final = [plural for plural in PLURALS.values() if plural not in ("events", "pods")]
LINE: Final = re.compile(r"^(error: )?you may not (\w+) ([\w./]+) in namespace shop")
COMMANDS: Final[dict[tuple[str, ...], set[tuple[str, str]]]] = {
    ("status",): {("list", plural) for plural in OURS if plural != "restores"},
    ("list",): {("list", "backups")},
    ("describe", "backup/b"): {("get", "backups"), ("list", "events")},
    ("chain", "db"): {("list", "backupchains"), ("list", "backups")},
    ("backup", "db", "-r", "store"): {("list", "protectedvms"), ("create", "backups")},
    ("backup", "db"): {("list", "protectedvms"), ("create", "backups"), ("list", "backuprepositories")},
    ("restore", "b", "--nbd"): {("get", "backups"), ("create", "restores")},
    ("verify", "b"): {("patch", "backups")},
    ("wait", "b", "--timeout", "0.1"): {("get", "backups")},
    ("cancel", "running"): {("get", "backups"), ("patch", "backups")},
    ("delete", "b", "--yes"): {
        ("get", "backups"), ("list", "backups"), ("list", "backupchains"), ("get", "backuprepositories"),
        ("delete", "backups"),
    },
    ("logs", "b"): {("list", "pods"), ("get", "pods")},
    ("repo",): {("list", "backuprepositories")},
    ("repo", "--scan"): {("list", "backuprepositories"), ("patch", "backuprepositories")},
    ("vms",): {("list", "protectedvms")},
    ("discover",): {("list", "vmwareappliances")},
    ("policy", "nightly"): {("list", "backuppolicies"), ("list", "backupchains")},
    ("policy", "nightly", "--run"): {("patch", "backuppolicies")},
}  # fmt: skip
"""The rights that each command uses."""
NEEDLESS: Final = {
    (("backup", "db", "-r", "store"), ("list", "protectedvms")),
    (("restore", "b", "--nbd"), ("get", "backups")),
    (("delete", "b", "--yes"), ("list", "backups")),
    (("delete", "b", "--yes"), ("list", "backupchains")),
    (("delete", "b", "--yes"), ("get", "backuprepositories")),
    (("backup", "db"), ("list", "protectedvms")),
}
"""What is only looked up, and what the command changes it changes without."""
MATRIX: Final = [(words, right) for words, rights in COMMANDS.items() for right in sorted(rights)]


@pytest.fixture
def shop(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(waits, "POLL_S", 0.001)
    status = {"phase": "Completed", "disks": []}
    cli.api.put(sample.backup("b", status))
    cli.api.put(sample.backup("running", {"phase": "Running"}))
    cli.api.put(sample.protected_vm("db", sample.ready_status()))
    cli.api.put(sample.repository("store", sample.ready_status()))
    cli.api.put(sample.appliance("vma", sample.ready_status()))
    cli.api.put(sample.custom("BackupPolicy", "nightly", {}, sample.ready_status()))
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    cli.api.put(sample.custom("BackupChain", "db-store", spec, {"restorePoints": [{"backup": "b"}]}))
    pod = sample.pod("p", "Succeeded")
    pod["metadata"]["labels"] = {"backup.sendense.io/backup": "b"}
    cli.api.put({"apiVersion": "v1", "kind": "Pod", **pod})
    cli.api.logs["p"] = "line\n"
    return cli


@pytest.mark.parametrize(("words", "right"), MATRIX, ids=[f"{' '.join(w)} without {' '.join(r)}" for w, r in MATRIX])
def test_one_line_and_the_rest(shop: CommandLine, words: tuple[str, ...], right: tuple[str, str]) -> None:
    verb, plural = right
    shop.api.forbidden = {right}
    done = shop.run(*words)
    found = [match for line in done.err.splitlines() if (match := LINE.match(line))]
    assert [(one[2], one[3].partition(".")[0].partition("/")[0]) for one in found] == [(verb, plural)]
    assert done.code == (0 if (words, right) in NEEDLESS else 1)
    assert f"the verb {verb} on" in done.err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_with_all_rights_nothing_is_missing(shop: CommandLine, words: tuple[str, ...]) -> None:
    done = shop.run(*words)
    assert done.code == 0
    assert not [line for line in done.err.splitlines() if LINE.match(line)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_table_has_each_right_that_is_used(shop: CommandLine, words: tuple[str, ...]) -> None:
    """Else the matrix would miss a case."""
    used = set()
    real = shop.api.answer

    def answer(method: str, target: str, body: object) -> tuple[int, object]:
        path = target.partition("?")[0].removeprefix("/apis/backup.sendense.io/v1alpha1/namespaces/shop/")
        plural, _, name = path.removeprefix("/api/v1/namespaces/shop/").partition("/")
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(method) or ("get" if name else "list")
        used.add((verb, plural))
        return real(method, target, body)

    shop.api.answer = answer  # type: ignore[method-assign]
    shop.run(*words)
    assert used == COMMANDS[words]


def test_the_table_has_each_command() -> None:
    known = {command.name for command in app.registered_commands}
    assert known - {words[0] for words in COMMANDS} == {"doctor"}, "doctor is about rights itself"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_right_at_all(shop: CommandLine, words: tuple[str, ...]) -> None:
    shop.api.forbidden = {("*", plural) for plural in (*OURS, "pods", "events")}
    done = shop.run(*words)
    assert done.code == 1
    assert LINE.match(done.err.splitlines()[0])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_objects_of_other_versions(shop: CommandLine, words: tuple[str, ...]) -> None:
    """Fields that are missing, of another type, or of the future break no command."""
    for odd in ({}, {"phase": "Hibernating", "disks": "none", "conditions": {}, "progress": 7, "verification": []}):
        for (plural, name), obj in shop.api.objects.items():
            if plural in OURS and name != "running":
                obj["status"] = {**odd, "future": {"x": [1]}}
        assert "this program has an error" not in shop.run(*words).err
