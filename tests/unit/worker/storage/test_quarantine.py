"""What a repository's pod puts aside, and what it leaves alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from tests.support.chains import PATHS, files, fill, head
from tests.unit.worker.proberig import FULL, FULL3, POD, names, probe, put, scan

from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.quarantine import quarantine


def test_orphans_are_put_aside(root: Path) -> None:
    fill(root, FULL)
    known = files(root)
    orphans = {
        "shop/db/disk-0/full-20250101-000000.qcow2": head(512),
        "shop/db/disk-0/full-20250101-000000.qcow2.digests": b"x" * 32,
        "shop/db/disk-1/incr-20250101-000001.qcow2": head(512, "full-20250101-000000.qcow2"),
        "shop/db/disk-0/holiday.partial": b"a person's",
        "shop/db/backups/notes.txt": b"a person's",
    }
    for path, data in orphans.items():
        put(root, path, data)
    reported = scan(root)
    assert (reported.chain.unknown, reported.chain.quarantined) == (0, 5)
    moved = files(root) - known
    assert {path.split("/", 4)[4]: (root / path).read_bytes() for path in moved} == {
        path.removeprefix("shop/db/"): data for path, data in orphans.items()
    }
    assert all(path.startswith("shop/db/.quarantine/") for path in moved)
    assert (scan(root).chain.quarantined, names(scan(root))) == (5, ["b1"])
    assert files(root) == known | moved


def test_a_second_orphan_of_a_name_replaces_none(root: Path) -> None:
    fill(root, FULL)
    for text in ("first", "second", "third"):
        put(root, "shop/db/disk-0/x", text)
        scan(root)
    kept = sorted(path.read_text() for path in (root / PATHS.quarantine).rglob("x"))
    assert kept == ["first", "second", "third"]


def test_who_is_fenced_puts_nothing_more_aside(root: Path) -> None:
    fill(root, FULL)
    orphans = [PurePosixPath(f"shop/db/disk-0/{name}") for name in ("x", "y", "z")]
    for path in orphans:
        put(root, str(path))
    lock = ChainLock.try_acquire(root / PATHS.lock, root, POD)
    assert lock is not None

    def on_step(name: str) -> None:
        if name.endswith("/y"):
            put(root, "shop/db/.owner", '{"podUID": "another"}')
        lock.before(name)

    with lock, pytest.raises(WorkerError) as caught:
        quarantine(root, PATHS, orphans, datetime.now(UTC), on_step)
    assert caught.value.reason == Reason.FENCED
    assert [(root / path).exists() for path in orphans] == [False, True, True]


def test_only_a_scan_puts_aside(root: Path) -> None:
    fill(root, FULL, FULL3)
    orphan = put(root, "shop/db/disk-0/x")
    assert probe(root, FULL3).chain.unknown == 1
    assert orphan.exists()


def test_what_is_odd_is_counted_only(root: Path) -> None:
    fill(root, FULL)
    (root / "shop/db/disk-0/link.qcow2").symlink_to(root / FULL.disks[0].file)
    (root / "shop/db/disk-0/folder").mkdir()
    os.mkfifo(root / "shop/db/disk-0/incr-20250101-000001.qcow2")
    (root / "shop/db/backups/link").symlink_to("/etc/passwd")
    put(root, "shop/db/disk-0/.nfs0001")
    put(root, "shop/db/lost")
    reported = scan(root)
    assert (reported.chain.unknown, reported.chain.quarantined, reported.chain.complete) == (6, 0, True)
    assert reported.points[0].damage == ""
