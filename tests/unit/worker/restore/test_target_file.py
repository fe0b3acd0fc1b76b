"""The image that a restore writes."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import ODD_KINDS, odd

from sendense_operator.worker.errors import NotRegularError
from sendense_operator.worker.restore.target_file import BLOCK, TargetFile

CHUNK = 4 * BLOCK
SIZE = 2 * CHUNK + BLOCK + 513
"""Neither blocks nor pages nor sectors fit."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image"


@pytest.fixture(params=[True, False], ids=["direct", "cached"])
def direct(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr("sendense_operator.worker.restore.target_file._open_direct", lambda *_: None)
    return bool(request.param)


def data(length: int, seed: int = 1) -> bytes:
    return bytes((at * seed + at // 251) % 255 + 1 for at in range(length))


@pytest.mark.usefixtures("direct")
def test_what_is_written_is_read(path: Path) -> None:
    file = TargetFile.create(path, SIZE, CHUNK)
    content = data(SIZE)
    for start in range(0, SIZE, CHUNK):
        part = content[start : start + CHUNK]
        assert file.write(start, part, blank=True) == len(part)
    file.settle()
    for start in range(0, SIZE, CHUNK):
        assert file.read(start, min(CHUNK, SIZE - start)) == content[start : start + CHUNK]
    file.close()
    assert path.read_bytes() == content


@pytest.mark.usefixtures("direct")
def test_zeroes_are_left_out_of_a_blank_image_only(path: Path) -> None:
    file = TargetFile.create(path, SIZE, CHUNK)
    part = bytes(BLOCK) + data(BLOCK) + bytes(2 * BLOCK)
    assert file.write(CHUNK, part, blank=True) == BLOCK
    assert file.write(2 * CHUNK, bytes(BLOCK + 513), blank=True) == 0
    file.settle()
    assert path.stat().st_blocks * 512 <= 2 * BLOCK
    assert list(file.data_chunks()) == [0, 1, 0]
    assert file.read(CHUNK, CHUNK) == part
    assert file.write(CHUNK, bytes(CHUNK), blank=False) == CHUNK
    file.write_zeroes(2 * CHUNK, BLOCK + 513)
    file.close()
    assert path.read_bytes() == bytes(SIZE)


def test_a_block_of_zeroes_with_one_byte_at_its_end(path: Path) -> None:
    file = TargetFile.create(path, SIZE, CHUNK)
    part = bytes(BLOCK - 1) + b"x" + bytes(BLOCK) + bytes(BLOCK) + b"y" + bytes(BLOCK - 1)
    assert file.write(0, part, blank=True) == 2 * BLOCK
    assert file.read(0, CHUNK) == part
    file.close()


def test_an_image_has_its_size_and_mode_at_once(path: Path) -> None:
    before = os.umask(0o077)
    try:
        TargetFile.create(path, SIZE, CHUNK).close()
    finally:
        os.umask(before)
    found = path.stat()
    assert (found.st_size, found.st_blocks, found.st_mode & 0o777) == (SIZE, 0, 0o660)
    with pytest.raises(FileExistsError):
        TargetFile.create(path, SIZE, CHUNK)


@pytest.mark.parametrize("size", [0, 100, SIZE + 4096])
def test_an_image_of_another_length_is_resumed_with_its_own(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)
    file = TargetFile.resume(path, SIZE, CHUNK)
    assert path.stat().st_size == SIZE
    assert file.stat().st_ino == path.stat().st_ino
    file.close()


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_only_files_are_opened(path: Path, kind: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    odd(path, kind, tmp_path / "other")
    for opened in (TargetFile.resume, TargetFile.examine):
        with pytest.raises((NotRegularError, IsADirectoryError)):
            opened(path, SIZE, CHUNK)
    with pytest.raises(FileExistsError):
        TargetFile.create(path, SIZE, CHUNK)
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_what_is_examined_is_not_changed(path: Path) -> None:
    path.write_bytes(b"mine")
    file = TargetFile.examine(path, SIZE, CHUNK)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write(0, b"x", blank=False)
    with pytest.raises(OSError, match="shorter"):
        file.read(0, CHUNK)
    file.close()
    assert path.read_bytes() == b"mine"


def test_writes_that_end_early_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: pwrite(fd, view[: max(1, len(view) // 2)], at))
    monkeypatch.setattr("sendense_operator.worker.restore.target_file._open_direct", lambda *_: None)
    file = TargetFile.create(path, SIZE, CHUNK)
    file.write(0, data(BLOCK), blank=True)
    assert file.read(0, BLOCK) == data(BLOCK)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="No space left"):
        file.write(0, data(BLOCK), blank=True)
    file.close()


def test_a_file_system_whose_direct_writes_need_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    file = TargetFile.create(path, SIZE, CHUNK)
    second = os.dup(file._fd)
    file._direct = second

    def refuse(fd: int, view: Any, at: int) -> int:
        if fd == second:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return pwrite(fd, view, at)

    monkeypatch.setattr(os, "pwrite", refuse)
    file.write(0, data(CHUNK), blank=True)
    assert file.read(0, CHUNK) == data(CHUNK)
    file.close()


def test_a_thread_that_is_late_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor's number may be another file's once the image is closed; so `close` waits for what has begun."""
    file = TargetFile.create(path, SIZE, CHUNK)
    pwrite, begun, going_on = os.pwrite, threading.Event(), threading.Event()

    def slow(fd: int, view: Any, at: int) -> int:
        begun.set()
        assert going_on.wait(10)
        return pwrite(fd, view, at)

    monkeypatch.setattr(os, "pwrite", slow)
    writer = threading.Thread(target=file.write, args=(0, data(BLOCK)), kwargs={"blank": True})
    writer.start()
    assert begun.wait(10)
    closer = threading.Thread(target=file.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    going_on.set()
    closer.join(10)
    writer.join(10)
    assert path.read_bytes()[:BLOCK] == data(BLOCK)
    with pytest.raises(OSError, match="closed"):
        file.write(0, data(BLOCK), blank=True)
    file.close()
