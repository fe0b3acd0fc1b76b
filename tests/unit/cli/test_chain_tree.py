"""`sendense chain`: groups by full, layers, rules, and what was removed."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.unit.cli.conftest import CommandLine

from sendense_operator.cli.chain_tree import group_points

MIB = 1 << 20


def point(name: str, full: str, depth: int, **more: object) -> Obj:
    return {
        "backup": name, "full": full, "depth": depth, "type": "Full" if name == full else "Incremental",
        "time": "2026-11-27T20:00:00Z", "storedBytes": depth * MIB, "state": "Available", **more,
    }  # fmt: skip


@pytest.fixture
def chain() -> Obj:
    status = {
        "points": 3, "storedBytes": 9 * MIB, "depth": 2, "next": {"type": "Full", "reason": "ChainTooDeep"},
        "restorePoints": [
            point("f1", "f1", 1, keptBy=["Daily", "Last"]),
            point("i2", "f1", 3, state="Damaged"),
            point("f2", "f2", 1, expiredSince="2026-11-27T20:00:00Z", heldBy="DryRun"),
        ],
        "removed": [{"backup": "i1", "full": "f1", "storedBytes": 5 * MIB, "state": "Needed", "neededBy": "i2",
                     "since": "2026-11-26T20:00:00Z"}],
    }  # fmt: skip
    return sample.custom(
        "BackupChain", "db-store", {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}, status
    )


def test_the_groups(chain: Obj) -> None:
    disk = {"id": 0, "type": "Full", "storedBytes": MIB, "file": "shop/db/disk-0/full-1.qcow2"}
    first, second = group_points(chain, [sample.backup("f1", {"disks": [disk]})])
    assert [(one.backup, one.removed) for one in first.points] == [("f1", False), ("i1", True), ("i2", False)]
    assert first.stored_bytes == 9 * MIB
    assert [one.kept for one in first.points] == ["kept by Daily, Last", "needed by i2", ""]
    assert first.points[0].layers[0].file == "full-1.qcow2"
    assert first.points[2].problem == "Damaged"
    assert second.points[0].kept == "expired, held by DryRun"


def test_a_full_that_was_removed_stays_on_top(chain: Obj) -> None:
    chain["status"]["removed"][0]["backup"] = "f1"
    del chain["status"]["restorePoints"][0]
    first, _ = group_points(chain, [])
    assert [(one.backup, one.removed) for one in first.points] == [("f1", True), ("i2", False)]


def test_what_it_shows(cli: CommandLine, chain: Obj) -> None:
    cli.api.put(chain)
    disk = {"id": 0, "type": "Full", "storedBytes": MIB, "file": "shop/db/disk-0/full-1.qcow2"}
    cli.api.put(sample.backup("f1", {"phase": "Completed", "disks": [disk]}))
    done = cli.run("chain", "db")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "db in store: 3 restore points, 9.0 MiB stored, depth 2 - next: Full (ChainTooDeep)"
    assert any("f1 2026-11-27 21:00 CET Full 1.0 MiB depth 1 kept by Daily, Last" in line for line in done.lines)
    assert any("i1 removed 2026-11-26 21:00 CET 5.0 MiB needed by i2" in line for line in done.lines)
    assert any("disk 0 Full 1.0 MiB full-1.qcow2" in line for line in done.lines)
    assert "disk 0" not in cli.run("chain", "db", "--no-layers").out
    assert cli.run("chain", "db", "-r", "store", "-o", "json").json["metadata"]["name"] == "db-store"


def test_by_the_chains_own_name(cli: CommandLine, chain: Obj) -> None:
    cli.api.put(chain)
    assert cli.run("chain", "db-store").lines[0].startswith("db in store")


def test_no_chain(cli: CommandLine) -> None:
    done = cli.run("chain", "db", "-r", "x")
    assert done.code == 1
    assert done.err.splitlines()[0] == "error: db has no restore point in repository x"


def test_a_chain_of_another_version(cli: CommandLine) -> None:
    spec = {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}
    status = {
        "restorePoints": [{"backup": "x", "keptBy": ["Lunar"], "state": "Sleeping"}, 7],
        "removed": {},
        "next": [],
    }
    cli.api.put(sample.custom("BackupChain", "c", spec, status))
    done = cli.run("chain", "db")
    assert done.code == 0
    assert any("x -" in line and "Sleeping kept by Lunar" in line for line in done.lines)


def test_layers_are_those_of_the_chains_namespace(cli: CommandLine, chain: Obj) -> None:
    cli.api.put(chain)
    disk = {"id": 0, "type": "Full", "storedBytes": MIB, "file": "elsewhere/db/disk-0/full-1.qcow2"}
    backup = sample.backup("f1", {"phase": "Completed", "disks": [disk]})
    backup["metadata"]["namespace"] = "elsewhere"
    cli.api.put(backup)
    assert "disk 0" not in cli.run("chain", "db", "-A").out
