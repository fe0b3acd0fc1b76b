"""Copies of sparse files on this machine's file system, and as others would do it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.file_copy import copy_file

KIB = 1 << 10
MIB = 1 << 20


class Counting:
    """A pace without a limit."""

    def __init__(self) -> None:
        self.taken = self.done = self.calls = 0

    def before_chunk(self) -> None:
        self.calls += 1

    def take(self, count: int) -> None:
        self.taken += count

    def advance(self, count: int) -> None:
        self.done += count


@contextmanager
def _open(folder: Path) -> Iterator[tuple[int, int]]:
    """Source and empty target."""
    source = os.open(folder / "source", os.O_RDONLY)
    target = os.open(folder / "target", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield source, target
    finally:
        os.close(source)
        os.close(target)


@pytest.fixture
def sparse(tmp_path: Path) -> bytes:
    """Data at the start, in the middle across a piece's end, and at an odd end; holes between."""
    with (tmp_path / "source").open("wb") as file:
        file.write(os.urandom(128 * KIB))
        file.seek(7 * MIB)
        file.write(os.urandom(2 * MIB))
        file.seek(20 * MIB)
        file.write(os.urandom(5000))
        file.truncate(24 * MIB + 100)
    return (tmp_path / "source").read_bytes()


@pytest.fixture
def no_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", refuse)


def _assert_copied(folder: Path, content: bytes, most_stored: int) -> None:
    target = folder / "target"
    assert target.read_bytes() == content
    assert target.stat().st_blocks * 512 <= most_stored


@pytest.mark.usefixtures("no_clone")
@pytest.mark.parametrize("error", [None, errno.EXDEV, errno.ENOSYS, errno.EIO])
def test_holes_are_kept(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch, error: int | None) -> None:
    """By the kernel, or where it refuses, by reading and writing."""

    def refuse(*_: Any) -> int:
        assert error is not None
        raise OSError(error, os.strerror(error))

    if error is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    pace = Counting()
    with _open(tmp_path) as (source, target):
        written = copy_file(source, target, pace)
    data = 128 * KIB + 2 * MIB + 8 * KIB
    _assert_copied(tmp_path, sparse, 3 * MIB)
    assert 128 * KIB + 2 * MIB + 5000 <= written <= data
    assert written == pace.taken == pace.done
    assert pace.calls == 5, "once for the clone, and for each piece"


@pytest.mark.usefixtures("no_clone")
def test_a_file_system_that_does_not_tell_of_holes(
    tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS before 4.2: the whole file is data, but no room is taken for zeroes."""

    def lseek(descriptor: int, at: int, how: int) -> int:
        return at if how == os.SEEK_DATA else os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "lseek", lseek)
    monkeypatch.delattr(os, "copy_file_range")
    with _open(tmp_path) as (source, target):
        copy_file(source, target, Counting())
    _assert_copied(tmp_path, sparse, 3 * MIB)


@pytest.mark.usefixtures("no_clone")
def test_the_kernel_copies_a_part(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the piece is read and written."""
    copy = os.copy_file_range
    answers = iter([10_000, 0])

    def some(source: int, target: int, count: int, at: int, to: int) -> int:
        limit = next(answers, count)
        return copy(source, target, min(count, limit), at, to) if limit else 0

    monkeypatch.setattr(os, "copy_file_range", some)
    with _open(tmp_path) as (source, target):
        copy_file(source, target, Counting())
    _assert_copied(tmp_path, sparse, 3 * MIB)


@pytest.mark.usefixtures("no_clone")
def test_a_write_is_cut_short(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def refuse(*_: Any) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(os, "pwrite", lambda target, data, at: write(target, data[:1000], at))
    with _open(tmp_path) as (source, target):
        copy_file(source, target, Counting())
    _assert_copied(tmp_path, sparse, 3 * MIB)


def test_a_clone(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written where the file system shares the blocks."""
    assert sparse
    asked = list[tuple[int, int, int]]()
    monkeypatch.setattr(fcntl, "ioctl", lambda *arguments: asked.append(arguments))
    with _open(tmp_path) as (source, target):
        assert copy_file(source, target, Counting()) == 0
        assert asked == [(target, 0x40049409, source)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_clone_that_fails(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    assert sparse

    def fail(*_: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "ioctl", fail)
    with _open(tmp_path) as (source, target), pytest.raises(OSError, match=os.strerror(error)):
        copy_file(source, target, Counting())


@pytest.mark.usefixtures("no_clone")
def test_a_copy_that_has_to_stop(tmp_path: Path, sparse: bytes) -> None:
    assert sparse

    class Stop(Counting):
        def before_chunk(self) -> None:
            super().before_chunk()
            if self.calls == 3:
                raise WorkerError(Reason.FENCED, "as if")

    with _open(tmp_path) as (source, target), pytest.raises(WorkerError, match="Fenced"):
        copy_file(source, target, Stop())


@pytest.mark.usefixtures("no_clone")
def test_a_file_that_became_shorter(tmp_path: Path, sparse: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sparse
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    with _open(tmp_path) as (source, target), pytest.raises(OSError, match="became shorter"):
        copy_file(source, target, Counting())
