"""Repositories that older versions wrote, kept as data: what today's code reads there, chooses there and removes there.

Nothing here is made from today's models, so that a field which was renamed or left out shows.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import TypeAdapter
from tests.support.chains import files, uid_of
from tests.unit.worker.proberig import POD, Reported, probe

from sendense_operator.catalogue_format import ChainRecord, PointRecord, RootRecord
from sendense_operator.chain import layout
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.chain.parent_choice import Choice, choose_parent, plan_layers
from sendense_operator.task import FullReason, Removal, TaskDisk
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage.chain_folder import ChainFolder, read_chain
from sendense_operator.worker.storage.digest_file import DigestFile

_DATA: Final = Path(__file__).parents[3] / "data/repositories"
_FIRST_ID: Final = "5e9d0000-0000-4000-8000-000000000002"
_ID: Final = "5e9d0000-0000-4000-8000-000000000001"
_DB: Final = ChainPaths("shop", "db")


def _unpacked(name: str, target: Path) -> Path:
    with tarfile.open(_DATA / name / "repository.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Of the first version."""
    return _unpacked("format-1-first", tmp_path)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Of version 0.1.0."""
    return _unpacked("format-1", tmp_path)


def _scan(root: Path, identity: str, *remove: Removal) -> Reported:
    return probe(root, scan=True, expected_id=identity, remove=remove)


def _uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _points(reported: Reported) -> list[tuple[str, str, int, int]]:
    return [(point.vm, point.backup, point.sequence, len(point.disks)) for point in reported.points]


def _disks(point: PointRecord) -> list[tuple[Any, ...]]:
    return [
        (
            disk.index,
            disk.key,
            disk.type.value,
            disk.reason,
            disk.virtual_size,
            disk.stored_bytes,
            disk.guest_bytes,
            disk.received_bytes,
            disk.change_id,
            disk.parent,
            disk.parent_change_id,
            disk.depth,
        )
        for disk in point.disks
    ]


def _choices(chain: ChainFolder, sizes: tuple[int, ...]) -> tuple[list[TaskDisk], list[Choice]]:
    """Return the disks of the next backup, and what is chosen for them."""
    disks = [
        TaskDisk(index=index, key=2000 + index, virtual_size=size, port=10809 + index)
        for index, size in enumerate(sizes)
    ]
    return disks, [choose_parent(disk, chain.points, chain.tombstones, chain.paths, 32) for disk in disks]


def _assert_digests(root: Path, chain: ChainFolder) -> None:
    """The list of each layer is the one that its manifest names."""
    for point in chain.points + chain.tombstones:
        for disk in point.manifest.disks:
            with DigestFile.open(root / disk.digest.list, Chunks(disk.virtual_size, disk.digest.chunk)) as digests:
                assert digests.root() == disk.digest.root


def test_format_1_first_is_scanned(first: Path) -> None:
    reported = _scan(first, _FIRST_ID)
    assert _points(reported) == [("db", "first", 0, 2), ("db", "second", 0, 2)]
    assert [(point.damage, point.full_next) for point in reported.points] == [("", "")] * 2
    assert reported.chain == ChainRecord(vm="db", points=2)
    assert reported.root == RootRecord()
    newest = reported.points[1]
    assert newest.backup_uid == _uid(2)
    assert newest.manifest == "shop/db/backups/second.json"
    assert newest.job_id == "backup-830c324c-7f4a-40cd-be7e-7c2af55062ac"
    assert newest.finished.isoformat() == "2026-11-27T07:29:42.368330+00:00"
    system, data = (
        "45 29 d4 35 6f 78 4b ef-a2 79 ac 1e 12 3b d5 3b/1",
        "91 30 24 a7 7a de d1 a1-c6 fe 3e b3 3f 7b 2d 57/2",
    )
    assert _disks(newest) == [
        (0, 2000, "Full", "", 524288, 528384, 0, 524288, system, "", "", 1),
        (1, 2001, "Full", "", 132608, 561152, 32768, 132608, data, "", "", 1),
    ]


def test_format_1_first_is_continued(first: Path) -> None:
    chain = read_chain(first, _DB)
    assert chain.is_understood
    assert chain.next_sequence == 1
    _assert_digests(first, chain)
    disks, choices = _choices(chain, (524288, 132608))
    parents = [choice.parent.describe() if choice.parent else None for choice in choices]
    assert [parent and parent.model_dump() for parent in parents] == [
        {
            "backup": "second",
            "backup_uid": _uid(2),
            "file": "shop/db/disk-0/full-20261127-072938.qcow2",
            "change_id": "45 29 d4 35 6f 78 4b ef-a2 79 ac 1e 12 3b d5 3b/1",
        },
        {
            "backup": "second",
            "backup_uid": _uid(2),
            "file": "shop/db/disk-1/full-20261127-072938.qcow2",
            "change_id": "91 30 24 a7 7a de d1 a1-c6 fe 3e b3 3f 7b 2d 57/2",
        },
    ]
    plans = plan_layers(disks, choices, chain.paths)
    assert [str(plan.folder) for plan in plans] == ["shop/db/disk-0", "shop/db/disk-1"]


def test_format_1_first_is_removed(first: Path) -> None:
    reported = _scan(first, _FIRST_ID, Removal(vm="db", backup="first", backup_uid=_uid(1)))
    assert [point.backup for point in reported.points] == ["second"]
    assert reported.tombstones == []
    layers = [f"shop/db/disk-{index}/full-20261127-072938.qcow2" for index in range(2)]
    assert files(first) == {"shop/db/backups/second.json", *layers, *(f"{layer}.digests" for layer in layers)}


def test_format_1_is_scanned(later: Path) -> None:
    reported = _scan(later, _ID)
    assert _points(reported) == [
        ("db", "sunday", 1, 2),
        ("db", "tuesday", 3, 2),
        ("mail", "damaged", 1, 1),
        ("mail", "after-damage", 2, 1),
        ("web", "before-reset", 1, 1),
    ]
    assert reported.chains == {
        "db": ChainRecord(vm="db", points=2, quarantined=1),
        "mail": ChainRecord(vm="mail", points=2),
        "web": ChainRecord(vm="web", points=1),
    }
    (tombstone,) = reported.tombstones
    assert (tombstone.vm, tombstone.backup, tombstone.backup_uid) == ("db", "monday", _uid(2))
    assert tombstone.needed_by == "tuesday"
    assert tombstone.stored_bytes > 0
    tuesday = reported.points[1]
    assert (tuesday.backup_uid, tuesday.manifest) == (_uid(3), "shop/db/backups/tuesday.json")
    assert tuesday.job_id == "backup-baf95f14-20f5-47f5-b089-3925582da6c8"
    assert tuesday.finished.isoformat() == "2026-11-27T07:37:31.892350+00:00"
    system, data = "06 73 5b 1f e6 b2 4e 91-b2 74 c5 61 55 42 20 b1", "d8 01 58 30 6e 0f c0 c3-4b da 45 28 5e 4e fb 82"
    increment = ("monday", f"{system}/2", 3), ("monday", f"{data}/2", 3)
    assert _disks(tuesday) == [
        (0, 2000, "Incremental", "", 1048576, 593920, 65536, 65678, f"{system}/3", *increment[0]),
        (1, 2001, "Incremental", "", 394752, 593920, 65536, 65678, f"{data}/3", *increment[1]),
    ]


def test_format_1_tells_its_damage(later: Path) -> None:
    reported = _scan(later, _ID)
    flaw = "full-20261127-073823.qcow2: its content from byte 0 on is not what was written"
    assert {point.backup: (point.damage, point.full_next) for point in reported.points} == {
        "sunday": ("", ""),
        "tuesday": ("", ""),
        "damaged": (f"disk 0: shop/mail/disk-0/full-20261127-073823.qcow2: {flaw}", "ParentUnverified"),
        "after-damage": ("", ""),
        "before-reset": ("", "CBTReset"),
    }
    reasons = {point.backup: point.disks[0].reason for point in reported.points if point.vm == "mail"}
    assert reasons == {"damaged": "NoParent", "after-damage": "ParentUnverified"}
    (mark,) = read_chain(later, ChainPaths("shop", "mail")).points[0].unfit
    assert (mark.index, mark.reason, mark.chunks) == (0, FullReason.PARENT_UNVERIFIED, (0,))
    assert (mark.backup_uid, mark.change_id, mark.layer) == (_uid(6), "", "")
    assert mark.time.isoformat().startswith("2026-11-27T07:38:")


def test_format_1_is_continued(later: Path) -> None:
    chain = read_chain(later, _DB)
    assert chain.is_understood
    assert chain.next_sequence == 4
    _assert_digests(later, chain)
    disks, choices = _choices(chain, (1048576, 394752))
    for choice, index in zip(choices, range(2), strict=True):
        assert choice.parent is not None
        assert (choice.parent.manifest.backup.name, choice.doubt) == ("tuesday", "")
        assert [layer.file for layer in choice.parent.stack] == [
            f"shop/db/disk-{index}/incr-20261127-073727.qcow2",
            chain.tombstones[0].manifest.disks[index].file,
            f"shop/db/disk-{index}/full-20261127-073639.qcow2",
        ]
    plans = plan_layers(disks, choices, chain.paths)
    assert [(str(plan.folder), plan.layers) for plan in plans] == [("shop/db/disk-0", 4), ("shop/db/disk-1", 4)]
    _, (choice,) = _choices(read_chain(later, ChainPaths("shop", "web")), (262144,))
    assert (choice.parent, choice.reason) == (None, FullReason.CBT_RESET)


def test_format_1_is_removed(later: Path) -> None:
    """The layers of a removed increment go with the one that depended on them; nothing else does."""
    before = files(later)
    reported = _scan(later, _ID, Removal(vm="db", backup="tuesday", backup_uid=_uid(3)))
    assert [point.backup for point in reported.points if point.vm == "db"] == ["sunday"]
    assert reported.tombstones == []
    gone = before - files(later)
    assert {name for name in gone if name.endswith(".json")} == {
        "shop/db/backups/tuesday.json",
        f"shop/db/.tombstones/monday.{_uid(2)}.json",
    }
    assert len(gone) == 2 + 2 * 2 * 2
    assert {name.partition("/incr-")[0] for name in gone if not name.endswith(".json")} == {
        "shop/db/disk-0",
        "shop/db/disk-1",
    }
    assert files(later) < before


def test_format_1_is_recognised_by_its_marker(later: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        _scan(later, uid_of(1))
    assert caught.value.reason == Reason.REPOSITORY_CHANGED
    assert _scan(later, _ID).answer.repository_id == _ID


def test_format_1_first_gets_an_owner_beside_its_lock(first: Path) -> None:
    """The first version kept the record in the lock itself."""
    assert json.loads((first / _DB.lock).read_text())["podUID"]
    _scan(first, _FIRST_ID)
    assert (first / _DB.lock).read_text() == ""
    assert json.loads((first / _DB.folder / layout.OWNER).read_text())["podUID"] == POD


@pytest.mark.parametrize("name", ["format-1-first", "format-1"])
def test_each_field_of_a_manifest_is_read(name: str, tmp_path: Path) -> None:
    root = _unpacked(name, tmp_path)
    found = [*root.glob("shop/*/backups/*.json"), *root.glob("shop/*/.tombstones/*.json")]
    assert len(found) == {"format-1-first": 2, "format-1": 6}[name]
    for file in found:
        written, read = file.read_bytes(), Manifest.from_json(file.read_bytes()).to_json()
        if name == "format-1":
            assert read == written
        else:
            assert _fields(json.loads(written)) <= _fields(json.loads(read))


def test_each_field_of_a_mark_is_read(later: Path) -> None:
    found = [*later.glob("shop/*/backups/*.unfit")]
    assert len(found) == 2
    for file in found:
        written = json.loads(file.read_bytes())
        marks = TypeAdapter(tuple[Unfit, ...]).validate_python(written)
        assert [mark.model_dump(mode="json", by_alias=True) for mark in marks] == written


def _fields(value: object, path: str = "") -> set[tuple[str, object]]:
    """Return all values in JSON, with their paths."""
    if isinstance(value, dict):
        return {field for name, item in value.items() for field in _fields(item, f"{path}.{name}")}
    if isinstance(value, list):
        return {field for at, item in enumerate(value) for field in _fields(item, f"{path}[{at}]")}
    return {(path, value)}
