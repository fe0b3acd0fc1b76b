"""What a repository's pod removes, and what it tells besides."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, files, fill, head, point, uid_of, write_point
from tests.unit.worker.proberig import FULL, FULL3, I2, POD, failing, names, probe, put, scan

from sendense_operator.catalogue_format import ChainRecord, Obstacle, ObstacleReason, PointRecord, RootRecord
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.vm_hardware import Hardware, NetworkCard
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage import chain_folder, disk_listing, repository_marker
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import list_names, read_regular


def test_a_look_tells_no_catalogue(root: Path) -> None:
    fill(root, FULL)
    reported = probe(root)
    assert (reported.answer.catalogue, reported.lines) == (None, [])


def test_an_empty_repository(root: Path) -> None:
    reported = scan(root)
    assert reported.records == [RootRecord()]


def test_a_scan_tells_all(root: Path) -> None:
    fill(root, FULL, I2, FULL3)
    reported = scan(root)
    assert names(reported) == ["b1", "b2", "b3"]
    assert reported.chain == ChainRecord(vm="db", points=3)
    record = reported.points[1]
    assert record == PointRecord(
        vm="db",
        backup="b2",
        backup_uid=uid_of(2),
        manifest="shop/db/backups/b2.json",
        sequence=2,
        started=I2.started,
        finished=I2.finished,
        job_id="job-2",
        vm_name="db",
        disks=(I2.disks[0].to_answer(),),
    )
    assert record.disks[0].parent == "b1"
    assert reported.root == RootRecord()


def test_a_scan_tells_of_hardware(root: Path) -> None:
    card = NetworkCard(network="n" * 300, mac_address="00:50:56:ab:00:01")
    hardware = Hardware(processors=2, network_cards=(card,))
    fill(root, FULL.model_copy(update={"vm": FULL.vm.model_copy(update={"hardware": hardware})}))
    (record,) = scan(root).points
    assert record.hardware == hardware.shown() != hardware


def test_removing_tells_of_its_chains_only(root: Path) -> None:
    other = ChainPaths("shop", "web")
    fill(root, FULL, I2)
    write_point(root, point(7, paths=other), paths=other)
    reported = probe(root, FULL)
    assert (names(reported), list(reported.chains), reported.roots) == (["b2"], ["db"], [])
    ((grave),) = reported.tombstones
    assert (grave.backup, grave.needed_by) == ("b1", "b2")
    assert grave.stored_bytes > 0
    reported = probe(root, I2, FULL)
    assert (names(reported), reported.tombstones, reported.chain) == ([], [], ChainRecord(vm="db"))


def test_removing_from_a_chain_that_is_gone(root: Path) -> None:
    reported = probe(root, FULL)
    assert reported.answer.catalogue is not None
    assert reported.records == []
    assert not (root / "shop").exists()


def test_a_look_frees_what_waited(root: Path, tmp_path: Path) -> None:
    fill(root, FULL, I2)
    probe(root, FULL)
    (root / "shop/db/backups/b2.json").rename(root / PATHS.tombstone("b2", uid_of(2)))
    probe(root)
    assert files(root) == set()


def full_while(monkeypatch: pytest.MonkeyPatch, file: Path, reason: str = Reason.REPOSITORY_FULL) -> None:
    """A volume without room for as long as `file` is there."""

    def check(*_: Any) -> None:
        if file.exists():
            raise WorkerError(reason, "writing a test file to the volume")

    monkeypatch.setattr(repository_marker, "check_writable", check)


def test_removing_from_a_full_volume(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    full_while(monkeypatch, root / FULL3.disks[0].file)
    reported = probe(root, FULL3)
    assert (names(reported), reported.tombstones) == (["b1"], [])
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_a_volume_that_stays_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    full_while(monkeypatch, root)
    with pytest.raises(WorkerError) as caught:
        probe(root, FULL3)
    assert caught.value.reason == Reason.REPOSITORY_FULL
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_nothing_is_done_on_a_volume_that_can_t_be_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, FULL3)
    before = files(root)
    full_while(monkeypatch, root, Reason.READ_ONLY)
    with pytest.raises(WorkerError) as caught:
        probe(root, FULL3)
    assert caught.value.reason == Reason.READ_ONLY
    assert files(root) == before


def test_a_scan_makes_what_a_removal_may_have_no_room_for(root: Path) -> None:
    fill(root, FULL)
    scan(root)
    assert (root / PATHS.tombstones).is_dir()


@pytest.mark.parametrize("data", [b"{", b"[" * 100_000])
def test_a_manifest_that_can_t_be_read_is_named(root: Path, data: bytes) -> None:
    """Whatever was asked for: nothing of this chain is freed until it can be."""
    fill(root, FULL, FULL3)
    put(root, "shop/db/backups/bad.json", data)
    for reported in (probe(root, FULL3), probe(root), scan(root)):
        (obstacle,) = reported.chain.obstacles
        assert (obstacle.reason, obstacle.doing) == (ObstacleReason.MANIFEST_UNREADABLE, "freeing")
        assert obstacle.file == "shop/db/backups/bad.json"
        assert obstacle.message.startswith(("not JSON", "the JSON is nested too deeply"))
        assert reported.tombstones
    (root / "shop/db/backups/bad.json").unlink()
    assert scan(root).chain.obstacles == ()
    assert files(root) == {*FULL.files(), "shop/db/backups/b1.json"}


def test_a_file_that_can_t_be_removed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `chattr +i`."""
    fill(root, FULL3)
    layer, unlink = root / FULL3.disks[0].file, Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == layer:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    (obstacle,) = probe(root, FULL3).chain.obstacles
    assert obstacle == Obstacle(
        reason=ObstacleReason.READ_ONLY, doing="freeing", file=FULL3.disks[0].file, message="Operation not permitted"
    )
    monkeypatch.undo()
    assert probe(root, FULL3).chain.obstacles == ()


@pytest.mark.parametrize("where", ["manifest", "layer"])
def test_nothing_is_put_aside_by_a_stale_listing(root: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The layers of a restore point whose manifest it lacks would be orphans."""
    fill(root, FULL)
    put(root, "shop/db/disk-0/orphan")
    before = files(root)

    def stale(path: Path) -> list[str]:
        return [*list_names(path), *(["gone.json"] if path.name == "backups" else [])]

    def vanishing(path: Path, limit: int) -> bytes:
        if path.name == "orphan":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read_regular(path, limit)

    if where == "manifest":
        monkeypatch.setattr(chain_folder, "list_names", stale)
    else:
        monkeypatch.setattr(disk_listing, "read_regular", vanishing)
    reported = scan(root)
    assert files(root) == before
    assert (reported.chain.complete, reported.chain.obstacles[0].reason) == (False, ObstacleReason.LISTING_CHANGED)
    monkeypatch.undo()
    assert scan(root).chain.quarantined == 1


def test_orphans_among_manifests_stop_nothing(root: Path) -> None:
    """They are put aside, but for what begins with a dot: file servers keep files of their own so."""
    fill(root, FULL, FULL3)
    for name in ("b1 (conflicted copy).json", "._b1.json", ".nfs0000000012"):
        put(root, f"shop/db/backups/{name}", FULL.to_json())
    reported = scan(root, FULL3)
    assert (names(reported), reported.tombstones) == (["b1"], [])
    assert (reported.chain.quarantined, reported.chain.unknown, reported.chain.obstacles) == (1, 2, ())


@pytest.mark.usefixtures("busy")
def test_a_chain_in_use_where_nothing_waits(root: Path) -> None:
    fill(root, FULL)
    reported = scan(root)
    assert (reported.chain.busy, reported.chain.obstacles) == (True, ())


@pytest.mark.usefixtures("busy")
def test_a_chain_in_use(root: Path) -> None:
    """What is listed is reported, nothing is swept, freed or put aside: its writer may be about to use it."""
    fill(root, FULL, I2, FULL3)
    put(root, "shop/db/disk-0/orphan")
    writing = put(
        root, "shop/db/disk-0/incr-20251006-000000.qcow2.partial", head(1 << 20, Path(FULL3.disks[0].file).name)
    )
    before = files(root)
    reported = scan(root, FULL3)
    assert names(reported) == ["b1", "b2"]
    assert [(grave.backup, grave.needed_by) for grave in reported.tombstones] == [("b3", "")]
    assert (reported.chain.complete, reported.chain.busy) == (True, True)
    assert "writing this chain" in reported.chain.message
    assert [obstacle.reason for obstacle in reported.chain.obstacles] == [ObstacleReason.CHAIN_BUSY]
    assert (reported.chain.unknown, reported.chain.quarantined, reported.answer.swept) == (0, 0, 0)
    assert len(files(root)) == len(before)
    assert writing.exists()
    assert (root / FULL3.disks[0].file).exists()


def test_layers_that_a_pod_reads(root: Path) -> None:
    """They wait for it; the chain is not reported for that alone, because it passes."""
    fill(root, FULL3)
    pin = put(root, f"shop/db/.pins/{POD}", f'["{FULL3.disks[0].file}"]')
    with pin.open("r+b") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        reported = scan(root, FULL3)
        assert [grave.backup for grave in reported.tombstones] == ["b3"]
        (obstacle,) = reported.chain.obstacles
        assert (obstacle.reason, reported.chain.unknown) == (ObstacleReason.LAYER_PINNED, 0)
        assert f"the pod with UID {POD} is reading layers" in obstacle.message
        assert probe(root).records == []
    assert scan(root).tombstones == []
    assert not (root / FULL3.disks[0].file).exists()


def test_what_waits_for_a_writer_goes_after_it(root: Path, busy: ChainLock) -> None:
    fill(root, FULL3)
    assert probe(root, FULL3).tombstones
    busy.release()
    assert probe(root, FULL3).tombstones == []
    assert files(root) == set()


def test_a_lock_that_can_t_be_had_is_as_good_as_taken(root: Path) -> None:
    fill(root, FULL)
    (root / PATHS.lock).mkdir()
    reported = scan(root)
    assert (names(reported), reported.chain.complete, reported.chain.busy) == (["b1"], True, True)


def test_a_removal_that_fails_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, FULL, I2)
    with monkeypatch.context() as patch:
        failing(patch, "/b1.json")
        reported = probe(root, FULL)
    assert not reported.chain.complete
    assert "removing" in reported.chain.message
    first = reported.chain.obstacles[0]
    assert (first.reason, first.doing) == (ObstacleReason.STORAGE_ERROR, "removing")
    assert first.file == "shop/db/backups/b1.json"
    assert first.message == os.strerror(5)
    assert probe(root, FULL).chain.complete
