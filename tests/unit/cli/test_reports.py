"""`sendense vms`, `discover`, `repo` and `policy`."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.unit.cli.conftest import CommandLine

from sendense_operator.api.v1alpha1.names import ANNOTATION_RUN, ANNOTATION_SCAN
from sendense_operator.cli import waits

GIB = 1 << 30


@pytest.fixture
def shop(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(waits, "POLL_S", 0.001)
    found = sample.ready_status(
        "Found", vmName="DB 01", powerState="on", size="2 GiB", disks=[{"index": 0}, {"index": 1}]
    )
    cli.api.put(sample.protected_vm("db", found))
    cli.api.put(sample.protected_vm("old", sample.ready_status(vanishedTime=sample.stamp())))
    return cli


def test_vms(shop: CommandLine) -> None:
    lines = shop.run("vms").lines
    assert lines[0].split() == ["NAME", "NAME", "IN", "VCENTER", "POWER", "DISKS", "SIZE", "STATE", "APPLIANCE"]
    assert lines[1].split() == ["db", "DB", "01", "on", "2", "2", "GiB", "Found", "vma"]
    assert "Vanished" in lines[2]
    assert len(shop.run("vms", "db").lines) == 2
    assert shop.run("vms", "x").err.startswith("error: no ProtectedVM x in namespace shop")


def test_discovery(cli: CommandLine) -> None:
    discovery = {"lastTime": sample.stamp(), "vms": 9, "matched": 4, "created": 1, "pending": 1, "vanished": 2,
                 "message": "1 would be made", "planned": [{"name": "web", "path": "/DC1/vm/web"}]}  # fmt: skip
    cli.api.put(
        sample.appliance("vma", sample.ready_status("Reachable", discovery=discovery), discovery={"dryRun": True})
    )
    cli.api.put(sample.appliance("other", sample.ready_status("Reachable")))
    lines = cli.run("discover").lines
    assert lines[1].split() == ["vma", "Reachable", "2025-10-05", "14:00", "CEST", "9", "4", "1", "1", "2"]
    assert "vma: 1 would be made" in lines
    assert "  would make web: /DC1/vm/web" in lines
    assert any(line.startswith("other: no discovery") for line in lines)


def test_repositories(cli: CommandLine) -> None:
    capacity = {"totalBytes": 4 * GIB, "freeBytes": GIB}
    status = sample.ready_status(capacity=capacity, points=7, catalogue={"time": sample.stamp(), "lost": 2})
    cli.api.put(sample.repository("store", status))
    cli.api.put(sample.repository("new"))
    lines = cli.run("repo").lines
    assert lines[1].split()[:9] == ["store", "Fine", "1.0", "GiB", "of", "4.0", "GiB", "75%", "7"]
    assert "! store: completed Backups without a restore point: 2" in lines
    assert "! new: the operator has not reconciled it: is it running?" in lines


def test_a_scan(cli: CommandLine) -> None:
    repository = cli.api.put(sample.repository("store", sample.ready_status()))

    def scanned() -> None:
        repository["status"]["catalogue"] = {"request": repository["metadata"]["annotations"][ANNOTATION_SCAN]}

    cli.api.after = [lambda: None, scanned]
    done = cli.run("repo", "store", "--scan", "--wait")
    assert (done.code, done.lines[0]) == (0, "scan of store requested")
    cli.api.forbidden = {("patch", "backuprepositories")}
    done = cli.run("repo", "--scan")
    assert (done.code, done.err.splitlines()[0]) == (
        1, "error: you may not patch backuprepositories.backup.sendense.io in namespace shop",
    )  # fmt: skip


@pytest.fixture
def policies(cli: CommandLine) -> CommandLine:
    schedule = {"name": "night", "cron": "0 1 * * *", "timeZone": "Europe/Berlin"}
    status = sample.ready_status(
        vms=3, nextTime="2099-01-01T00:00:00Z", objective={"summary": "2 of 3"},
        retention={"restorePoints": 9, "expired": 1}, schedules=[{"name": "night", "nextTime": "2099-01-01T00:00:00Z"}],
    )  # fmt: skip
    spec = {"repositoryRef": {"name": "store"}, "schedules": [schedule], "retention": {"keepLast": 3, "dryRun": True}}
    cli.api.put(sample.custom("BackupPolicy", "nightly", spec, status))
    point = {
        "backup": "db-1",
        "time": sample.stamp(),
        "storedBytes": GIB,
        "expiredSince": sample.stamp(),
        "heldBy": "DryRun",
    }
    chain = {"policy": "nightly", "restorePoints": [point, {"backup": "db-2", "keptBy": ["Last"]}]}
    cli.api.put(sample.custom("BackupChain", "db-store", {"vmRef": {"name": "db"}}, chain))
    return cli


def test_policies(policies: CommandLine) -> None:
    lines = policies.run("policy").lines
    assert lines[1].split() == [
        "nightly", "Fine", "3", "2", "of", "3", "2099-01-01", "01:00", "CET", "1", "of", "9",
    ]  # fmt: skip
    assert len(lines) == 2


def test_a_policy_in_full(policies: CommandLine) -> None:
    out = policies.run("policy", "nightly").out
    assert "0 1 * * * Europe/Berlin" in out
    assert "2099-01-01 01:00 CET (in " in out
    assert "db-1" in out
    assert "held by DryRun" in out
    assert "db-2" not in out


def test_a_run(policies: CommandLine) -> None:
    done = policies.run("policy", "nightly", "--run")
    assert done.lines == ["run of nightly requested: `sendense list --policy nightly` shows its Backups"]
    assert policies.api.written("PATCH")[0]["metadata"]["annotations"][ANNOTATION_RUN]
    assert policies.run("policy", "--run").code == 2


@pytest.mark.parametrize("words", [("repo", "--scan"), ("policy", "nightly", "--run")])
@pytest.mark.parametrize("more", ["-A", "--watch"])
def test_a_change_is_made_once_and_in_one_namespace(policies: CommandLine, words: tuple[str, ...], more: str) -> None:
    """Another namespace may have an object of the same name."""
    policies.api.put(sample.repository("store"))
    assert policies.run(*words, more).code == 2
    assert policies.api.written("PATCH") == []
