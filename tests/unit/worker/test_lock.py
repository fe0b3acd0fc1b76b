import json
from pathlib import Path

import pytest

from sendense_operator.worker.lock import ChainLock
from sendense_operator.worker.reasons import Reason, WorkerError


def lock_path(root: Path) -> Path:
    return root / "ns" / "vm" / ".lock"


def acquire(root: Path, owner: str = "pod-a") -> ChainLock | None:
    return ChainLock.try_acquire(lock_path(root), root, owner)


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = acquire(tmp_path)
    assert first is not None
    assert json.loads(lock_path(tmp_path).read_text())["podUID"] == "pod-a"
    assert acquire(tmp_path, "pod-b") is None
    first.check()
    first.release()
    second = acquire(tmp_path, "pod-b")
    assert second is not None
    second.check()
    second.release()


async def test_waiting_ends_with_the_owners_name(tmp_path: Path) -> None:
    with acquire(tmp_path) or pytest.fail():
        with pytest.raises(WorkerError, match="pod pod-a") as caught:
            await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=0.01)
        assert caught.value.reason == Reason.CHAIN_BUSY
    with await ChainLock.acquire(lock_path(tmp_path), tmp_path, "pod-b", wait=10):
        pass


def test_a_lock_that_was_forgotten_fences(tmp_path: Path) -> None:
    """The node was away, its locks were dropped, another pod took over: then the first comes back."""
    first = acquire(tmp_path)
    assert first is not None
    lock_path(tmp_path).write_text(json.dumps({"podUID": "pod-b"}))
    with pytest.raises(WorkerError, match="pod pod-b") as caught:
        first.check()
    assert caught.value.reason == Reason.FENCED
    assert not first.is_ours()


@pytest.mark.parametrize("replace", [True, False])
def test_another_file_fences(tmp_path: Path, replace: bool) -> None:
    first = acquire(tmp_path)
    assert first is not None
    content = lock_path(tmp_path).read_text()
    lock_path(tmp_path).unlink()
    if replace:
        lock_path(tmp_path).write_text(content)
    assert not first.is_ours()


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "ns").write_text("")
    with pytest.raises(WorkerError) as caught:
        acquire(tmp_path)
    assert caught.value.reason == Reason.STORAGE_ERROR
