"""The immutable bit on real files, where this process may set it; and what happens where it may not."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import PATHS, fill, increment, point, uid_of, write_point
from tests.support.interruptions import CutShort, cut_at

from sendense_operator.answer import ImmutableBit
from sendense_operator.chain.immutability import ImmutabilityRule
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import Removal
from sendense_operator.worker.storage import immutable_bit
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.commit import commit, no_step
from sendense_operator.worker.storage.immutable_bit import (
    find_support,
    protect,
    protect_point,
    refresh_bits,
    release,
    release_point,
)
from sendense_operator.worker.storage.tombstones import RetainedError, entomb, free_layers

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = ImmutabilityRule(UNTIL - timedelta(days=1)), ImmutabilityRule(UNTIL)
FULL = point(1, until=UNTIL)
PLAIN = point(4)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on whose files the bit can be set; what has it at the end loses it."""
    support = find_support(tmp_path, "test")
    if support is not ImmutableBit.USED:
        pytest.skip(f"this process can't set the immutable bit below {tmp_path}: {support}")
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if path.is_file():
            release(path)


def is_protected(path: Path) -> bool:
    """Return whether the kernel refuses to rename the file."""
    other = path.with_name(path.name + ".moved")
    try:
        path.rename(other)
    except PermissionError:
        return True
    other.rename(path)
    return False


def protected(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and is_protected(path)}


def files_of(*manifests: Manifest) -> set[str]:
    return {name for one in manifests for name in (*one.files(), f"shop/db/backups/{one.backup.name}.json")}


def removal(manifest: Manifest) -> Removal:
    return Removal(vm="db", backup=manifest.backup.name, backup_uid=manifest.backup.uid)


def test_nobody_can_change_such_a_file(volume: Path) -> None:
    file = volume / "file"
    file.write_bytes(b"content")
    protect(file)
    protect(file)
    for change in (file.unlink, lambda: file.write_bytes(b"x"), lambda: os.link(file, volume / "link")):
        with pytest.raises(PermissionError):
            change()
    assert file.read_bytes() == b"content"
    release(file)
    release(file)
    file.unlink()
    release(file)


def test_the_test_of_the_bit_leaves_no_file(volume: Path) -> None:
    assert list(volume.iterdir()) == []


def test_a_commit_protects_an_immutable_point(volume: Path) -> None:
    for one in (FULL, PLAIN):
        commit_by(volume, one)
    assert protected(volume) == files_of(FULL)


def commit_by(root: Path, manifest: Manifest, cut: int | None = None) -> None:
    place = write_point(root, manifest)
    for name in manifest.files():
        (root / name).rename(root / f"{name}.partial")
    (root / place).unlink()
    lock = ChainLock.try_acquire(root / PATHS.lock, root, uid_of(4711), may_lack_record=True)
    assert lock is not None
    with lock:
        commit(root, place, manifest, lock, cut_at(cut) if cut is not None else no_step)


def test_after_a_crash_between_commit_and_bit_maintenance_sets_it(volume: Path) -> None:
    steps = 0
    while not (volume / "shop/db/backups/b1.json").exists():
        with pytest.raises(CutShort):
            commit_by(volume, FULL, steps)
        assert protected(volume) == set(), "nothing is protected before it is committed"
        steps += 1
    refresh_bits(volume, read_chain(volume, PATHS), BEFORE)
    assert protected(volume) == files_of(FULL)


def test_a_window_that_is_over_ends_with_its_bit(volume: Path) -> None:
    fill(volume, FULL, PLAIN)
    refresh_bits(volume, read_chain(volume, PATHS), BEFORE)
    with pytest.raises(RetainedError):
        entomb(volume, PATHS, removal(FULL), rule=BEFORE)
    assert protected(volume) == files_of(FULL)
    assert entomb(volume, PATHS, removal(FULL), rule=AFTER)
    assert free_layers(volume, read_chain(volume, PATHS), rule=AFTER).waiting == ()
    assert not any((volume / name).exists() for name in files_of(FULL))


@pytest.mark.parametrize("number", range(10))
def test_freeing_protected_files_is_cut_short(volume: Path, number: int) -> None:
    fill(volume, FULL)
    refresh_bits(volume, read_chain(volume, PATHS), BEFORE)
    for _ in range(2):
        try:
            entomb(volume, PATHS, removal(FULL), cut_at(number), AFTER)
            free_layers(volume, read_chain(volume, PATHS), cut_at(number), AFTER)
        except CutShort:
            number = 99
    free_layers(volume, read_chain(volume, PATHS), rule=AFTER)
    assert not any((volume / name).exists() for name in files_of(FULL))


def test_layers_below_stay_protected_as_long_as_one_above_is_immutable(volume: Path) -> None:
    above = increment(2, FULL, until=UNTIL + timedelta(days=5))
    newest = increment(3, above)
    fill(volume, FULL, above, newest)
    refresh_bits(volume, read_chain(volume, PATHS), AFTER)
    assert protected(volume) == {*FULL.files(), *files_of(above)}
    assert entomb(volume, PATHS, removal(FULL), rule=AFTER)
    refresh_bits(volume, read_chain(volume, PATHS), AFTER)
    free_layers(volume, read_chain(volume, PATHS), rule=AFTER)
    assert protected(volume) == {*FULL.files(), *files_of(above)}
    refresh_bits(volume, read_chain(volume, PATHS), ImmutabilityRule(UNTIL + timedelta(days=5)))
    assert protected(volume) == set()


def test_more_days_keep_the_bit(volume: Path) -> None:
    fill(volume, FULL)
    refresh_bits(volume, read_chain(volume, PATHS), ImmutabilityRule(UNTIL, days=36_500))
    assert protected(volume) == files_of(FULL)


def test_a_bit_that_somebody_else_set_stays(volume: Path) -> None:
    fill(volume, PLAIN)
    layer = volume / PLAIN.disks[0].file
    protect(layer)
    refresh_bits(volume, read_chain(volume, PATHS), AFTER)
    release_point(volume, PATHS.backups / "b4.json", PLAIN)
    entomb(volume, PATHS, removal(PLAIN), rule=AFTER)
    with pytest.raises(PermissionError):
        free_layers(volume, read_chain(volume, PATHS), rule=AFTER)
    assert layer.exists()


def test_a_released_point_can_be_replaced(volume: Path) -> None:
    fill(volume, FULL)
    place = PATHS.backups / "b1.json"
    protect_point(volume, place, FULL)
    merged = volume / f"{FULL.disks[0].file}.merged.partial"
    merged.write_bytes(b"merged")
    with pytest.raises(PermissionError):
        merged.replace(volume / FULL.disks[0].file)
    release_point(volume, place, FULL)
    merged.replace(volume / FULL.disks[0].file)
    assert protected(volume) == set()


def test_marks_can_be_written_beside_a_protected_manifest(volume: Path) -> None:
    fill(volume, FULL)
    protect_point(volume, PATHS.backups / "b1.json", FULL)
    (volume / "shop/db/backups/b1.json.unfit").write_bytes(b"[]")
    assert uid_of(1) == FULL.backup.uid
    assert read_chain(volume, PATHS).is_understood


def test_a_missing_file_does_not_stop_the_others(volume: Path) -> None:
    fill(volume, FULL)
    (volume / FULL.disks[0].file).unlink()
    refresh_bits(volume, read_chain(volume, PATHS), BEFORE)
    assert protected(volume) == files_of(FULL) - {FULL.disks[0].file}


def refusing(monkeypatch: pytest.MonkeyPatch, code: int, *, reading: bool) -> None:
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, *rest: Any) -> Any:
        if reading or request == immutable_bit._SET_FLAGS:
            raise OSError(code, os.strerror(code))
        return real(fd, request, *rest)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)


@pytest.mark.parametrize(
    ("code", "reading", "support"),
    [
        (errno.EPERM, False, ImmutableBit.NOT_PERMITTED),
        (errno.ENOTTY, True, ImmutableBit.NOT_SUPPORTED),
        (errno.EOPNOTSUPP, False, ImmutableBit.NOT_SUPPORTED),
    ],
)
def test_without_the_bit_the_operator_alone_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reading: bool, support: ImmutableBit
) -> None:
    refusing(monkeypatch, code, reading=reading)
    assert find_support(tmp_path, "test") is support
    assert list(tmp_path.iterdir()) == []
    commit_by(tmp_path, FULL)
    with pytest.raises(RetainedError):
        entomb(tmp_path, PATHS, removal(FULL), rule=BEFORE)
    assert entomb(tmp_path, PATHS, removal(FULL), rule=AFTER)
    assert free_layers(tmp_path, read_chain(tmp_path, PATHS), rule=AFTER).waiting == ()


def test_a_storage_error_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EIO, reading=True)
    with pytest.raises(OSError, match="Input/output"):
        find_support(tmp_path, "test")
