"""What a repository's pod tells of all that is there."""

from __future__ import annotations

import os
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, files, fill, layer, point, uid_of, write_point
from tests.unit.worker.proberig import FULL, FULL3, I2, ID, POD, failing, names, probe, put, scan

from sendense_operator.catalogue_format import RootRecord
from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.task import FullReason, ProbeTask, Removal
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.maintenance.repository_maintenance import run_probe
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import mark_unfit, read_chain

SECONDS_FOR_1000 = 60.0


def test_what_lies_beside_the_chains(root: Path) -> None:
    fill(root, FULL)
    other = ChainPaths("other", "web")
    write_point(root, point(7, paths=other), paths=other)
    for path in ("README", "Photos/a.jpg", "shop/notes", "shop/empty-folder/x", "lost+found/x", "lone/x/y"):
        put(root, path)
    (root / "link").symlink_to(root / "shop")
    before = files(root)
    reported = scan(root)
    assert reported.root == RootRecord(unknown=5, other_folders=("other",))
    assert list(reported.chains) == ["db"]
    assert files(root) == before


def test_another_folder_than_the_namespace(root: Path) -> None:
    other = ChainPaths("archive", "web")
    write_point(root, point(7, paths=other), paths=other)
    fill(root, FULL)
    reported = scan(root, folder="archive")
    assert (names(reported), reported.root.other_folders) == (["b7"], ("shop",))
    assert reported.points[0].manifest == "archive/web/backups/b7.json"


def test_other_namespaces_are_swept_and_nothing_else(root: Path) -> None:
    fill(root, FULL)
    put(root, "shop/db/disk-0/x")
    put(root, "shop/db/disk-0/full-20250101-000000.qcow2.partial")
    put(root, "shop/db/disk-0/holiday.partial")
    reported = scan(root, namespace="elsewhere")
    assert reported.answer.swept == 1
    assert {"shop/db/disk-0/x", "shop/db/disk-0/holiday.partial"} <= files(root)
    assert not (root / "shop/db/disk-0/full-20250101-000000.qcow2.partial").exists()


@pytest.mark.parametrize(
    ("data", "unreadable", "newer"),
    [
        (b"", 1, 0),
        (b"{", 1, 0),
        (b"\xff" * 100, 1, 0),
        (b'{"format": "sendense.io/manifest", "version": 2, "layers": []}', 0, 1),
        (FULL3.to_json().replace(b"52 de/3", b"52 de/4"), 1, 0),
        (b" " * (5 << 20), 1, 0),
    ],
)
def test_a_manifest_that_can_t_be_read_is_left_alone(root: Path, data: bytes, unreadable: int, newer: int) -> None:
    """And so is all that it may need."""
    fill(root, FULL, I2, FULL3)
    odd = root / "shop/db/backups/b3.json"
    odd.write_bytes(data)
    orphan = put(root, "shop/db/disk-0/x")
    reported = scan(root, I2)
    assert (reported.chain.unreadable, reported.chain.newer, reported.chain.complete) == (unreadable, newer, True)
    assert names(reported) == ["b1"]
    assert [(grave.backup, grave.needed_by) for grave in reported.tombstones] == [("b2", "")]
    assert odd.read_bytes() == data
    assert orphan.exists()
    assert {*FULL3.files(), *I2.files()} <= files(root)
    assert reported.chain.quarantined == 0


def test_a_manifest_with_a_name_that_is_none(root: Path) -> None:
    fill(root, FULL)
    for number, change in enumerate(({"name": "../x"}, {"uid": "x"})):
        forged = FULL3.model_copy(update={"backup": FULL3.backup.model_copy(update=change)})
        put(root, f"shop/db/backups/forged-{number}.json", forged.to_json())
    assert (names(scan(root)), scan(root).chain.unreadable) == (["b1"], 2)


def test_damage_is_reported(root: Path) -> None:
    fill(root, FULL, I2, FULL3)
    (root / FULL.disks[0].file).unlink()
    (seen,) = [item for item in read_chain(root, PATHS).points if item.manifest == FULL3]
    refused = Unfit(index=0, reason=FullReason.CHANGE_ID_REFUSED, time=datetime(2025, 10, 6, tzinfo=UTC))
    mark_unfit(root, seen, (refused,))
    reported = scan(root)
    assert [bool(record.damage) for record in reported.points] == [True, True, False]
    assert "depends on b1" in reported.points[1].damage
    assert [record.full_next for record in reported.points] == [
        "ParentUnverified",
        "ParentUnverified",
        "ChangeIDRefused",
    ]


@pytest.mark.parametrize("end", ["/db", "/db/backups", "/db/.tombstones", "/db/disk-0", "/b2.json", "/db/.quarantine"])
@pytest.mark.parametrize("code", [5, 13, 116])
def test_half_a_listing_is_none(root: Path, monkeypatch: pytest.MonkeyPatch, end: str, code: int) -> None:
    web = ChainPaths("shop", "web")
    write_point(root, point(7, paths=web), paths=web)
    fill(root, FULL, I2)
    probe(root, FULL)
    put(root, "shop/db/disk-0/x")
    (root / PATHS.quarantine).mkdir()
    before = files(root)
    with monkeypatch.context() as patch:
        failing(patch, end, code)
        reported = scan(root)
    assert not reported.chain.complete
    assert os.strerror(code) in reported.chain.message
    assert names(reported) == ["b7"]
    assert reported.chains["web"].complete
    assert len(files(root)) == len(before)
    assert {*FULL.files(), *I2.files()} <= files(root)


def test_a_layer_that_can_t_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is reported as damage of what needs it; the others are reported as ever."""
    fill(root, FULL, I2, FULL3)
    with monkeypatch.context() as patch:
        failing(patch, I2.disks[0].file.rpartition("/")[2])
        reported = scan(root)
    assert reported.chain.complete
    assert [record.damage != "" for record in reported.points] == [False, True, False]
    assert "Input/output error" in reported.points[1].damage
    assert scan(root).points[1].damage == ""


def test_a_root_that_can_t_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL)
    with monkeypatch.context() as patch:
        failing(patch, "/shop")
        reported = scan(root)
    assert not reported.root.complete
    assert reported.points == []
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_what_a_killed_probe_left_at_the_root(root: Path) -> None:
    old, new = put(root, f".sendense-write-{uid_of(2)}.partial"), put(root, f".sendense-write-{uid_of(3)}.partial")
    orphan = put(root, "film.partial")
    for path in (old, orphan):
        os.utime(path, (1, 1))
    reported = scan(root)
    assert (reported.answer.swept, reported.root.unknown) == (1, 1)
    assert (old.exists(), new.exists(), orphan.exists()) == (False, True, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "../x", "remove": (Removal(vm="db", backup="b1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="../db", backup="b1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="db", backup="b/1", backup_uid=uid_of(1)),)},
        {"remove": (Removal(vm="db", backup="b1", backup_uid="*"),)},
        {"folder": "../x", "scan": True},
    ],
)
def test_names_that_become_no_path(root: Path, changes: dict[str, Any]) -> None:
    fill(root, FULL)
    before = files(root)
    with pytest.raises(WorkerError) as caught:
        probe(root, **changes)
    assert caught.value.reason == Reason.BAD_TASK
    assert files(root) == before


def fill_chains(root: Path, chains: int, points: int) -> None:
    for number in range(chains):
        paths = ChainPaths("shop", f"vm-{number}")
        last: Manifest | None = None
        for at in range(1, points + 1):
            disks = [
                layer(at, index, parent=(last, index) if last and at % 8 else None, paths=paths) for index in (0, 1)
            ]
            last = point(at, disks, paths=paths)
            write_point(root, last, paths=paths)


def test_a_thousand_restore_points(root: Path) -> None:
    fill_chains(root, 20, 50)
    started = time.monotonic()
    reported = scan(root)
    assert time.monotonic() - started < SECONDS_FOR_1000
    assert len(reported.points) == 1000
    assert not any(record.damage for record in reported.points)


def peak(root: Path) -> int:
    """Bytes."""
    tracemalloc.start()
    try:
        run_probe(
            Settings(pod_uid=POD, pod_ip="127.0.0.1", node_ip="", repository=root),
            ProbeTask(namespace="shop", repository="main", repository_uid=ID, scan=True),
            lambda _: None,
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_repository(root: Path) -> None:
    """Of three each: what the interpreter's table of strings grows by in one of them is none of the scan's."""
    fill_chains(root, 5, 20)
    few = min(peak(root) for _ in range(3))
    fill_chains(root, 40, 20)
    assert min(peak(root) for _ in range(3)) < 1.3 * few + (1 << 20)


def test_partials_of_ours_are_swept(root: Path) -> None:
    fill(root, FULL)
    for name in ("disk-0/full-20250101-000000.qcow2", "disk-0/full-20250101-000000.qcow2.digests", "backups/x.json"):
        put(root, f"shop/db/{name}{layout.PARTIAL}")
    assert scan(root).answer.swept == 3
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}
