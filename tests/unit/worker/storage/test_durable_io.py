"""Links, pipes and folders that somebody planted are neither followed nor waited on."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from tests.support.chains import PATHS, SIZE, head, odd

from sendense_operator.worker.errors import NotRegularError, Reason, WorkerError
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.durable_io import (
    ensure_folder,
    fsync_path,
    is_folder,
    is_regular,
    list_names,
    names_in,
    open_new,
    open_regular,
    replace_durable,
    write_durable,
)
from sendense_operator.worker.storage.repository_marker import read_marker

SECRET = b"of somebody else"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_new_file_replaces_what_was_planted(tmp_path: Path, target: Path, kind: str) -> None:
    path = tmp_path / "file"
    for write in (write_durable, replace_durable):
        odd(path, kind, target)
        odd(tmp_path / "file.partial", kind, target)
        write(path, b"ours")
        assert is_regular(path)
        assert path.read_bytes() == b"ours"
        assert target.read_bytes() == SECRET


def test_what_is_planted_between_is_not_opened(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, unlink = tmp_path / "file", Path.unlink

    def replant(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok=missing_ok)
        self.symlink_to(target)

    monkeypatch.setattr(Path, "unlink", replant)
    with pytest.raises(FileExistsError):
        open_new(path)
    assert target.read_bytes() == SECRET


@pytest.mark.parametrize("kind", ["pipe", "link", "socket"])
def test_neither_read_nor_flushed(tmp_path: Path, target: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "socket":
        os.mknod(path, 0o140600)
    else:
        odd(path, kind, target)
    for call in (fsync_path, open_regular):
        with pytest.raises(NotRegularError):
            call(path)
    assert not is_regular(path)


def test_a_link_in_the_place_of_a_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "db").mkdir(parents=True)
    (tmp_path / "shop").symlink_to(elsewhere)
    for path in (tmp_path / "shop", tmp_path / "shop/db", tmp_path / "shop/db/backups"):
        with pytest.raises(NotADirectoryError):
            ensure_folder(path, tmp_path)
    assert list((elsewhere / "db").iterdir()) == []
    with pytest.raises(NotADirectoryError):
        list_names(tmp_path / "shop")
    assert names_in(tmp_path / "shop") == []
    assert not is_folder(tmp_path / "shop")


def test_folders_are_made_below_the_root_only(tmp_path: Path) -> None:
    ensure_folder(tmp_path, tmp_path)
    ensure_folder(tmp_path / "a/b/c", tmp_path)
    assert is_folder(tmp_path / "a/b/c")
    with pytest.raises(FileNotFoundError):
        ensure_folder(tmp_path / "missing/a", tmp_path / "missing")


@pytest.mark.parametrize("name", [".lock", ".owner"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_lock_that_was_planted(tmp_path: Path, target: Path, name: str, kind: str) -> None:
    odd(tmp_path / PATHS.folder / name, kind, target)
    with pytest.raises(WorkerError) as caught:
        ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert caught.value.reason == Reason.STORAGE_ERROR
    assert target.read_bytes() == SECRET


def test_a_layer_is_not_created_through_a_link(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `qemu-img create` would: it truncates what it finds."""
    path = tmp_path / "full-20251005-120000.qcow2.partial"
    path.symlink_to(target)

    async def create(*_: str) -> tuple[int, str, str]:
        path.write_bytes(head(SIZE))
        return 0, "", ""

    monkeypatch.setattr(qemu_tools, "_run", create)
    asyncio.run(qemu_tools.create(path, SIZE))
    assert target.read_bytes() == SECRET
    assert is_regular(path)


def test_deeply_nested_files_of_ours(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    (tmp_path / ".sendense-repository.json").write_bytes(deep[:60_000])
    with pytest.raises(WorkerError) as caught:
        read_marker(tmp_path)
    assert caught.value.reason == Reason.NOT_A_REPOSITORY
    lock = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, "pod")
    assert lock is not None
    with lock:
        owner = tmp_path / PATHS.folder / ".owner"
        for data in (deep[:4096], json.dumps(["podUID"]).encode()):
            owner.write_bytes(data)
            assert not lock.is_ours()
