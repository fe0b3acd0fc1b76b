"""Pins: who reads what, and what maintenance makes of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.chains import PATHS, fill, increment, point, uid_of

from sendense_operator.chain import layout
from sendense_operator.chain.freeable_layers import Pins
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import Removal
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage import pins as module
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.pins import Pin, pinned
from sendense_operator.worker.storage.tombstones import FreeResult, entomb, free_layers

READER = uid_of(4711)
FULL = point(1)
I2 = increment(2, FULL)
FULL3 = point(3)


async def pin(root: Path, *manifests: Manifest, is_there: bool = True, reader: str = READER) -> Pin | None:
    layers = [disk.file for manifest in manifests for disk in manifest.disks]
    return await Pin.create(root, PATHS, reader, layers, lambda: is_there, 0.3)


def remove(root: Path, *manifests: Manifest) -> FreeResult:
    for item in manifests:
        entomb(root, PATHS, Removal(vm="db", backup=item.backup.name, backup_uid=item.backup.uid))
    return free_layers(root, read_chain(root, PATHS))


def exists(root: Path, manifest: Manifest) -> bool:
    return all((root / file).exists() for file in manifest.files())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def test_a_pinned_layer_is_kept_with_all_below(tmp_path: Path) -> None:
    fill(tmp_path, FULL, I2, FULL3)
    held = await pin(tmp_path, I2)
    assert held is not None
    with held:
        freed = remove(tmp_path, FULL, I2, FULL3)
        assert [item.pinned_by for item in freed.waiting] == [READER, READER]
        assert exists(tmp_path, FULL)
        assert exists(tmp_path, I2)
        assert not exists(tmp_path, FULL3)
    assert remove(tmp_path).waiting == ()
    assert not exists(tmp_path, FULL)


async def test_what_a_restore_point_needs_is_not_said_to_be_pinned(tmp_path: Path) -> None:
    fill(tmp_path, FULL, I2)
    held = await pin(tmp_path, I2, FULL)
    assert held is not None
    with held:
        (waiting,) = remove(tmp_path, FULL).waiting
    assert (waiting.needed_by, waiting.pinned_by) == ("b2", "")


async def test_the_pin_of_a_dead_reader_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    path = tmp_path / PATHS.pin(READER)
    path.parent.mkdir(parents=True)
    path.write_text(f'["{FULL.disks[0].file}"]')
    assert remove(tmp_path, FULL).waiting == ()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '["../x"]', "null", "[" * 100_000, f'["{"x" * (1 << 20)}"]'])
def test_an_unknown_live_pin_keeps_everything(tmp_path: Path, content: str) -> None:
    fill(tmp_path, FULL, FULL3)
    path = tmp_path / PATHS.pin(READER)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with locked(path):
        freed = remove(tmp_path, FULL, FULL3)
    assert [item.pinned_by for item in freed.waiting] == [READER, READER]
    assert exists(tmp_path, FULL)
    assert exists(tmp_path, FULL3)


async def test_no_pin_of_what_was_removed(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    assert await pin(tmp_path, FULL, is_there=False) is None
    assert [path.name for path in (tmp_path / PATHS.pins).iterdir()] == [layout.LOCK]


async def test_a_pin_is_there_before_the_check(tmp_path: Path) -> None:
    """So either maintenance sees the pin, or the reader sees that the restore point was removed."""
    fill(tmp_path, FULL)
    seen = list[Pins]()

    def is_there() -> bool:
        seen.append(module._read_pins(tmp_path, PATHS))
        return True

    held = await Pin.create(tmp_path, PATHS, READER, [FULL.disks[0].file], is_there, 0.3)
    assert held is not None
    held.release()
    assert seen == [Pins({FULL.disks[0].file: READER}, readers=frozenset({READER}))]


async def test_nothing_is_pinned_while_layers_are_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, FULL)
    (tmp_path / PATHS.pins).mkdir()
    with pinned(tmp_path, PATHS) as pins:
        assert pins == Pins()
        with pytest.raises(WorkerError) as caught:
            await pin(tmp_path, FULL)
        assert caught.value.reason == Reason.CHAIN_BUSY
    monkeypatch.setattr(module, "_MAINTENANCE_WAIT", 0.2)
    with locked(tmp_path / PATHS.pins / layout.LOCK):
        (waiting,) = remove(tmp_path, FULL).waiting
    assert waiting.pinned_by == "(unknown)"
    assert exists(tmp_path, FULL)


def test_without_pins_no_folder_is_made(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    assert remove(tmp_path, FULL).files == 2
    assert not (tmp_path / PATHS.pins).exists()


async def test_links_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    path = tmp_path / PATHS.pin(READER)
    path.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("kept")
    path.symlink_to(outside)
    with pytest.raises(WorkerError):
        await pin(tmp_path, FULL)
    assert outside.read_text() == "kept"
    (waiting,) = remove(tmp_path, FULL).waiting
    assert waiting.pinned_by == READER
