"""Restore points that go, in any order, twice, and cut short at every step."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chains import PATHS, files, fill, head, increment, layer, point, uid_of, write_point
from tests.support.interruptions import CutShort, cut_at

from sendense_operator.chain.manifest import Manifest
from sendense_operator.chain.parent_blocks import Unfit
from sendense_operator.task import FullReason, Removal
from sendense_operator.worker.storage import chain_folder, disk_listing, recovery
from sendense_operator.worker.storage.chain_folder import mark_unfit, read_chain
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.durable_io import list_names, read_regular
from sendense_operator.worker.storage.tombstones import FreeResult, entomb, free_layers, waiting_tombstones

FULL = point(1, [layer(1, 0), layer(1, 1)])
I2 = increment(2, FULL)
I3 = increment(3, I2)
FULL4 = point(4)
CHAIN = (FULL, I2, I3, FULL4)
NOW = datetime(2025, 10, 6, tzinfo=UTC)


def removal(manifest: Manifest) -> Removal:
    return Removal(vm="db", backup=manifest.backup.name, backup_uid=manifest.backup.uid)


def remove(root: Path, manifest: Manifest, on_step: Callable[[str], None] = no_step) -> bool:
    return entomb(root, PATHS, removal(manifest), on_step)


def free(root: Path, on_step: Callable[[str], None] = no_step) -> FreeResult:
    return free_layers(root, read_chain(root, PATHS), on_step)


def names_of(*manifests: Manifest) -> set[str]:
    return {name for manifest in manifests for name in manifest.files()}


def stored(*manifests: Manifest) -> set[str]:
    """Everything of these restore points."""
    return names_of(*manifests) | {f"shop/db/backups/{manifest.backup.name}.json" for manifest in manifests}


def tombstones(*manifests: Manifest) -> set[str]:
    return {f"shop/db/.tombstones/{item.backup.name}.{item.backup.uid}.json" for item in manifests}


def test_the_newest(tmp_path: Path) -> None:
    fill(tmp_path, *CHAIN)
    assert remove(tmp_path, FULL4)
    assert files(tmp_path) == stored(FULL, I2, I3) | names_of(FULL4) | tombstones(FULL4)
    done = free(tmp_path)
    assert files(tmp_path) == stored(FULL, I2, I3)
    assert (done.files, done.waiting) == (2, ())
    assert done.stored_bytes > 0


def test_what_is_needed_waits(tmp_path: Path) -> None:
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL)
    remove(tmp_path, I3)
    waiting = waiting_tombstones(tmp_path, read_chain(tmp_path, PATHS))
    assert [(item.point.manifest.backup.name, item.needed_by) for item in waiting] == [("b1", "b2"), ("b3", "")]
    done = free(tmp_path)
    assert files(tmp_path) == stored(I2, FULL4) | names_of(FULL) | tombstones(FULL)
    ((item),) = done.waiting
    assert item.needed_by == "b2"
    assert item.stored_bytes == sum((tmp_path / name).stat().st_blocks * 512 for name in FULL.files())
    remove(tmp_path, I2)
    assert free(tmp_path).waiting == ()
    assert files(tmp_path) == stored(FULL4)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.lists(st.booleans(), min_size=4, max_size=4))
def test_any_order_and_twice(tmp_path_factory: pytest.TempPathFactory, order: list[int], now: list[bool]) -> None:
    root = fill(tmp_path_factory.mktemp("repository"), *CHAIN)
    for number, frees in zip(order, now, strict=True):
        assert remove(root, CHAIN[number])
        assert not remove(root, CHAIN[number])
        if frees:
            assert free(root).waiting == free(root).waiting
        left = [item.manifest for item in read_chain(root, PATHS).points]
        needed = {layer for item in left for at in (item.sequence,) for layer in below(at)}
        assert needed <= files(root)
    free(root)
    assert not files(root)
    shutil.rmtree(root)


def below(number: int) -> set[str]:
    """Return the files that a restore point of CHAIN needs."""
    return names_of(FULL4) if number == 4 else names_of(*CHAIN[:number])


@pytest.mark.parametrize("number", range(12))
def test_removing_is_cut_short(tmp_path: Path, number: int) -> None:
    """At any step it is there or removed, and done again it is done."""
    fill(tmp_path, *CHAIN)
    mark(tmp_path, I2)
    steps: list[str] = []
    remove(fill(tmp_path / "undisturbed", *CHAIN), I2, steps.append)
    if number >= len(steps):
        assert number > 4
        remove(tmp_path, I2, cut_at(number))
    else:
        with pytest.raises(CutShort):
            remove(tmp_path, I2, cut_at(number))
        chain = read_chain(tmp_path, PATHS)
        assert len(chain.points) + len(chain.tombstones) == 4
    remove(tmp_path, I2)
    shutil.rmtree(tmp_path / "undisturbed")
    assert files(tmp_path) == stored(FULL, I3, FULL4) | names_of(I2) | tombstones(I2)


@pytest.mark.parametrize("number", range(30))
def test_freeing_is_cut_short(tmp_path: Path, number: int) -> None:
    """A file goes before what it depends on, and a tombstone after its files."""
    fill(tmp_path, *CHAIN)
    for manifest in (FULL, I2, I3):
        remove(tmp_path, manifest)
    try:
        free(tmp_path, cut_at(number))
    except CutShort:
        left = files(tmp_path)
        for upper, lower in ((I3, I2), (I2, FULL)):
            for at in (0, 1):
                assert upper.disks[at].file not in left or lower.disks[at].file in left
        for manifest in (FULL, I2, I3):
            assert not (names_of(manifest) & left) or tombstones(manifest) <= left
    else:
        assert number >= 12 + 2 + 3
    free(tmp_path)
    assert files(tmp_path) == stored(FULL4)


def test_another_of_the_same_name_stays(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    older = point(5, name=FULL4.backup.name)
    assert not remove(tmp_path, older)
    assert files(tmp_path) == stored(FULL4)
    # the newer one lies in the second place, and goes without the older
    second = PATHS.manifests(older.backup.name, older.backup.uid)[1]
    kept = (tmp_path / PATHS.backups / "b4.json").read_bytes()
    write_point(tmp_path, older)
    (tmp_path / PATHS.backups / "b4.json").rename(tmp_path / second)
    (tmp_path / PATHS.backups / "b4.json").write_bytes(kept)
    assert remove(tmp_path, older)
    free(tmp_path)
    assert files(tmp_path) == stored(FULL4)


def test_a_name_that_the_manifest_does_not_know(tmp_path: Path) -> None:
    """An adopted Backup's name may have been taken by another object."""
    fill(tmp_path, FULL, FULL4)
    asked = Removal(vm="db", backup="b1-00000000", backup_uid=FULL.backup.uid)
    assert entomb(tmp_path, PATHS, asked)
    assert not entomb(tmp_path, PATHS, asked)
    assert files(tmp_path) == stored(FULL4) | names_of(FULL) | tombstones(FULL)


def test_one_that_never_was(tmp_path: Path) -> None:
    assert not remove(tmp_path, FULL)
    fill(tmp_path, FULL4)
    assert not remove(tmp_path, FULL)
    assert files(tmp_path) == stored(FULL4)


def test_one_that_was_committed_again_after_it_was_removed(tmp_path: Path) -> None:
    """By a worker that was thought dead: no tombstone is lost, nor the files that it owns."""
    fill(tmp_path, FULL4)
    remove(tmp_path, FULL4)
    again = point(4, [layer(6)])
    fill(tmp_path, again)
    assert remove(tmp_path, again)
    assert files(tmp_path) >= names_of(FULL4, again) | tombstones(FULL4)
    assert free(tmp_path).waiting == ()
    assert not files(tmp_path)


def mark(root: Path, manifest: Manifest) -> None:
    (stored_point,) = [item for item in read_chain(root, PATHS).points if item.manifest == manifest]
    mark_unfit(root, stored_point, (Unfit(index=0, reason=FullReason.PARENT_UNVERIFIED, time=NOW),))


def test_its_mark_goes(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    mark(tmp_path, FULL4)
    remove(tmp_path, FULL4)
    assert files(tmp_path) == names_of(FULL4) | tombstones(FULL4)


def test_a_mark_that_comes_too_late(tmp_path: Path) -> None:
    """It would speak against the next restore point of that name."""
    fill(tmp_path, FULL4)
    (seen,) = read_chain(tmp_path, PATHS).points
    remove(tmp_path, FULL4)
    mark_unfit(tmp_path, seen, (Unfit(index=0, reason=FullReason.PARENT_UNVERIFIED, time=NOW),))
    assert files(tmp_path) == names_of(FULL4) | tombstones(FULL4)


def test_a_mark_that_was_left_behind_is_swept(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    mark(tmp_path, FULL4)
    stray = tmp_path / PATHS.backups / "gone.json.unfit"
    stray.write_text("[]")
    assert recovery.sweep(tmp_path, PATHS) == 1
    assert not stray.exists()
    assert files(tmp_path) == stored(FULL4) | {"shop/db/backups/b4.json.unfit"}


@pytest.mark.parametrize("folder", ["backups", ".tombstones"])
@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": "sendense.io/manifest", "version": 2}', None])
def test_nothing_goes_from_a_chain_that_is_not_understood(tmp_path: Path, data: bytes | None, folder: str) -> None:
    fill(tmp_path, FULL4)
    remove(tmp_path, FULL4)
    odd = tmp_path / PATHS.folder / folder / (f"odd.{uid_of(9)}.json" if folder == ".tombstones" else "odd.json")
    if data is None:
        odd.symlink_to(tmp_path / "nowhere")
    else:
        odd.write_bytes(data)
    done = free(tmp_path)
    assert (done.files, len(done.waiting)) == (0, 1)
    assert names_of(FULL4) | tombstones(FULL4) <= files(tmp_path)
    odd.unlink()
    assert free(tmp_path).waiting == ()
    assert not files(tmp_path)


ORPHANS = ("._b4.json", "b4 (conflicted copy).json", ".nfs0000000012", "B4.json", "b4.json.json", ".json", "b4.x.json")


@pytest.mark.parametrize("folder", ["backups", ".tombstones"])
@pytest.mark.parametrize("name", ORPHANS)
def test_a_name_that_the_layout_can_t_have_made_is_no_manifest(tmp_path: Path, folder: str, name: str) -> None:
    fill(tmp_path, FULL, FULL4)
    orphan = tmp_path / PATHS.folder / folder / name
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"no manifest")
    chain = read_chain(tmp_path, PATHS)
    assert chain.is_understood
    assert [item.manifest for item in chain.points] == [FULL, FULL4]
    remove(tmp_path, FULL4)
    assert free(tmp_path).waiting == ()
    assert files(tmp_path) == stored(FULL) | {f"shop/db/{folder}/{name}"}


@pytest.mark.parametrize("folder", ["backups", ".tombstones"])
def test_a_manifest_that_vanishes_under_the_lock_frees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The listing is an old one: the newest restore point may be missing from it."""
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL4)
    before = files(tmp_path)
    ghost = {"backups": "gone.json", ".tombstones": f"gone.{uid_of(9)}.json"}[folder]

    def stale(path: Path) -> list[str]:
        return [*list_names(path), *([ghost] if path.name == folder else [])]

    monkeypatch.setattr(chain_folder, "list_names", stale)
    done = free(tmp_path)
    assert (done.files, len(done.waiting)) == (0, 1)
    assert files(tmp_path) == before
    monkeypatch.undo()
    assert free(tmp_path).files == 2


def test_a_layer_that_vanishes_under_the_lock_frees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL4)
    before = files(tmp_path)

    def vanishing(path: Path, limit: int) -> bytes:
        if path == tmp_path / FULL.disks[1].file:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read_regular(path, limit)

    monkeypatch.setattr(disk_listing, "read_regular", vanishing)
    done = free(tmp_path)
    assert (done.files, done.vanished) == (0, (FULL.disks[1].file,))
    assert files(tmp_path) == before


def test_tombstones_without_a_folder_of_manifests_are_not_freed(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    remove(tmp_path, FULL4)
    (tmp_path / PATHS.backups).rmdir()
    assert free(tmp_path).files == 0
    (tmp_path / PATHS.backups).mkdir()
    assert free(tmp_path).files == 2


def test_nothing_is_freed_behind_a_link(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    remove(tmp_path, FULL4)
    folder, elsewhere = tmp_path / "shop/db/disk-0", tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert free(tmp_path).files == 0
    assert len(list(elsewhere.iterdir())) == 2


def test_a_manifest_that_is_nested_too_deeply_stops_its_own_chain_only(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    for data in (b"[" * 100_000, b'{"format": "sendense.io/manifest", "x": ' + b"[" * 900 + b"]" * 900 + b"}"):
        (tmp_path / PATHS.backups / "deep.json").write_bytes(data)
        chain = read_chain(tmp_path, PATHS)
        assert ([item.manifest for item in chain.points], len(chain.unreadable)) == ([FULL4], 1)


def test_a_garbled_manifest_is_not_removed(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    (tmp_path / "shop/db/backups/b4.json").write_text("{")
    assert not remove(tmp_path, FULL4)
    assert files(tmp_path) == stored(FULL4)


def test_a_folder_that_can_t_be_listed_frees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL4)
    scandir = os.scandir

    def broken(path: str) -> object:
        if str(path).endswith("disk-1"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(OSError, match="Input/output"):
        free(tmp_path)
    monkeypatch.undo()
    assert names_of(*CHAIN) <= files(tmp_path)


@pytest.mark.parametrize("name", ["orphan.qcow2", "incr-20251005-130000.qcow2.partial"])
def test_what_an_unknown_image_depends_on_stays(tmp_path: Path, name: str) -> None:
    fill(tmp_path, FULL4)
    orphan = tmp_path / "shop/db/disk-0" / name
    orphan.write_bytes(head(1 << 20, Path(FULL4.disks[0].file).name))
    remove(tmp_path, FULL4)
    assert len(free(tmp_path).waiting) == 1
    assert names_of(FULL4) <= files(tmp_path)
    orphan.unlink()
    assert free(tmp_path).waiting == ()


def test_only_files_of_the_chain_s_own_folder_go(tmp_path: Path) -> None:
    fill(tmp_path, FULL4)
    disk = layer(7).model_copy(update={"file": "shop/other/disk-0/full-20251005-120007.qcow2"})
    forged = point(7, [disk])
    write_point(tmp_path, forged)
    remove(tmp_path, forged)
    free(tmp_path)
    assert files(tmp_path) == stored(FULL4) | {disk.file, disk.digest.list}


def test_a_worker_that_lost_the_lock_stops(tmp_path: Path) -> None:
    fill(tmp_path, *CHAIN)
    remove(tmp_path, FULL4)
    before = files(tmp_path)
    with pytest.raises(CutShort):
        free(tmp_path, cut_at(0))
    assert files(tmp_path) == before
