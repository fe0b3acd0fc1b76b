import errno
import fcntl
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage.chain_lock import ChainLock


def lock_path(root: Path) -> Path:
    return root / "ns" / "vm" / ".lock"


def record(root: Path) -> Path:
    return root / "ns" / "vm" / ".owner"


def record_of(owner: str) -> str:
    return json.dumps({"podUID": owner})


def acquire(root: Path, owner: str = "pod-a", *, may_lack_record: bool = False) -> ChainLock | None:
    return ChainLock.try_acquire(lock_path(root), root, owner, may_lack_record=may_lack_record)


def held(root: Path, owner: str = "pod-a", *, may_lack_record: bool = False) -> ChainLock:
    lock = acquire(root, owner, may_lack_record=may_lack_record)
    assert lock is not None
    return lock


def forget(lock: ChainLock) -> None:
    """What a server does with the locks of a node that was away for too long: the holder does not notice."""
    fcntl.flock(lock._fd, fcntl.LOCK_UN)


@pytest.fixture
def smb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked file takes I/O through its holder's descriptor alone, and a conflict is EACCES, as flock(2) says."""
    real_flock = fcntl.flock

    def guarded(real: Any, reading: Any) -> Any:
        def call(path: Any, how: Any = "r", *rest: Any, **named: Any) -> Any:
            if Path(str(path)).name == ".lock" and reading(how):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, how, *rest, **named)

        return call

    def flock(fd: int, operation: int) -> None:
        try:
            real_flock(fd, operation)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    monkeypatch.setattr(os, "open", guarded(os.open, lambda flags: flags & os.O_ACCMODE == os.O_RDONLY))
    monkeypatch.setattr(io, "open", guarded(io.open, lambda mode: "r" in mode))
    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block is left, on the volume or for this user."""

    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = held(tmp_path)
    assert json.loads(record(tmp_path).read_text())["podUID"] == "pod-a"
    assert acquire(tmp_path, "pod-b") is None
    first.check()
    first.release()
    second = held(tmp_path, "pod-b")
    second.check()
    second.release()


@pytest.mark.usefixtures("smb")
async def test_a_share_that_locks_files_against_reading(tmp_path: Path) -> None:
    first = held(tmp_path)
    first.check()
    with pytest.raises(WorkerError, match="UID pod-a") as caught:
        await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=0)
    assert caught.value.reason == Reason.CHAIN_BUSY
    first.check()


async def test_waiting_ends_with_the_owners_name(tmp_path: Path) -> None:
    with held(tmp_path):
        with pytest.raises(WorkerError, match="UID pod-a") as caught:
            await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=0.01)
        assert caught.value.reason == Reason.CHAIN_BUSY
    with await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=10):
        pass


def test_a_lock_that_was_forgotten_fences(tmp_path: Path) -> None:
    """The node was away, its locks were dropped, another pod took over: then the first comes back."""
    first = held(tmp_path)
    forget(first)
    second = held(tmp_path, "pod-b")
    with pytest.raises(WorkerError, match="UID pod-b") as caught:
        first.check()
    assert caught.value.reason == Reason.FENCED
    assert not first.is_ours()
    second.check()


@pytest.mark.parametrize("content", ["", "{", "[]", None])
def test_a_record_that_is_none_fences(tmp_path: Path, content: str | None) -> None:
    first = held(tmp_path)
    record(tmp_path).unlink()
    if content is not None:
        record(tmp_path).write_text(content)
    assert not first.is_ours()


def test_a_longer_record_before(tmp_path: Path) -> None:
    held(tmp_path, "pod-with-a-long-name" * 3).release()
    held(tmp_path, "b").check()
    assert json.loads(record(tmp_path).read_text())["podUID"] == "b"


@pytest.mark.parametrize("replace", [True, False])
def test_another_file_fences(tmp_path: Path, replace: bool) -> None:
    first = held(tmp_path)
    lock_path(tmp_path).unlink()
    if replace:
        lock_path(tmp_path).touch()
    assert not first.is_ours()


class TestOlderVersions:
    """They keep the owner's record in the lock itself, and look for their name there."""

    async def test_who_holds_it_is_reported(self, tmp_path: Path) -> None:
        held(tmp_path, "stale").release()
        with lock_path(tmp_path).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(record_of("old-pod"))
            file.flush()
            with pytest.raises(WorkerError, match="UID old-pod"):
                await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=0)
        assert record_of("old-pod") == lock_path(tmp_path).read_text(), "it is still the old one's"

    def test_one_that_comes_back_does_not_find_its_name(self, tmp_path: Path) -> None:
        lock_path(tmp_path).parent.mkdir(parents=True)
        lock_path(tmp_path).write_text(record_of("old-pod"))
        held(tmp_path).check()
        assert lock_path(tmp_path).read_bytes() == b""

    def test_one_that_took_over_fences(self, tmp_path: Path) -> None:
        first = held(tmp_path)
        forget(first)
        lock_path(tmp_path).write_text(record_of("old-pod"))
        with pytest.raises(WorkerError, match="UID old-pod") as caught:
            first.check()
        assert caught.value.reason == Reason.FENCED


@pytest.mark.usefixtures("full")
class TestFullVolume:
    """Only who removes something may go on, and everybody else is fenced by it."""

    def test_a_writer_ends(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerError) as caught:
            acquire(tmp_path)
        assert caught.value.reason == Reason.REPOSITORY_FULL

    def test_a_nameless_holder(self, tmp_path: Path) -> None:
        first = held(tmp_path, may_lack_record=True)
        first.check()
        assert acquire(tmp_path, "pod-b", may_lack_record=True) is None

    def test_who_was_there_before_is_fenced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda fd, data, at: os.lseek(fd, at, os.SEEK_SET) or os.write(fd, data))
            before = held(tmp_path)
        forget(before)
        held(tmp_path, "pod-b", may_lack_record=True).check()
        assert not before.is_ours()

    def test_the_next_with_a_name_fences(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        nameless = held(tmp_path, may_lack_record=True)
        forget(nameless)
        monkeypatch.undo()
        held(tmp_path, "pod-b").check()
        assert not nameless.is_ours()


def test_another_trouble_is_no_lack_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    lock_path(tmp_path).parent.mkdir(parents=True)
    with pytest.raises(WorkerError) as caught:
        acquire(tmp_path, may_lack_record=True)
    assert caught.value.reason == Reason.STORAGE_ERROR


@pytest.mark.parametrize("name", [".lock", ".owner"])
def test_a_link_in_their_place(tmp_path: Path, name: str) -> None:
    """Whatever it leads to is not overwritten."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    place = lock_path(tmp_path).with_name(name)
    place.parent.mkdir(parents=True)
    place.symlink_to(precious)
    with pytest.raises(WorkerError) as caught:
        acquire(tmp_path)
    assert caught.value.reason == Reason.STORAGE_ERROR
    assert precious.read_text() == "data"


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "ns").write_text("")
    with pytest.raises(WorkerError) as caught:
        acquire(tmp_path)
    assert caught.value.reason == Reason.STORAGE_ERROR
