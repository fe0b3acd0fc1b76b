import errno
import json
import os
from pathlib import Path

import pytest
from tests.support.chains import ODD_KINDS, odd

from sendense_operator.chain.layout import MARKER
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.storage import repository_marker

MARKER_TEXT = json.dumps({"format": "sendense.io/repository", "version": 1, "id": "old"})


@pytest.mark.parametrize(
    ("files", "expected_id", "result"),
    [
        ({}, None, "new"),
        ({"lost+found/": ""}, None, "new"),
        ({MARKER + ".partial": "{"}, None, "new"),
        ({MARKER: MARKER_TEXT, "x": ""}, None, "old"),
        ({MARKER: MARKER_TEXT}, "old", "old"),
        ({MARKER: MARKER_TEXT}, "other", Reason.REPOSITORY_CHANGED),
        ({}, "old", Reason.NOT_A_REPOSITORY),
        ({"x": ""}, None, Reason.NOT_A_REPOSITORY),
        ({"ns/vm/": ""}, None, Reason.NOT_A_REPOSITORY),
        ({MARKER: ""}, None, Reason.NOT_A_REPOSITORY),
        ({MARKER: '{"format": "x", "version": 1, "id": "old"}'}, None, Reason.NOT_A_REPOSITORY),
        ({MARKER: MARKER_TEXT.replace("1", "2")}, None, Reason.REPOSITORY_NEWER),
    ],
)
def test_init(tmp_path: Path, files: dict[str, str], expected_id: str | None, result: str) -> None:
    for name, text in files.items():
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    if isinstance(result, Reason):
        with pytest.raises(WorkerError) as caught:
            repository_marker.init_repository(tmp_path, "new", expected_id)
        assert caught.value.reason == result
        assert sorted(tmp_path.iterdir()) == before
    else:
        assert repository_marker.init_repository(tmp_path, "new", expected_id) == result
        repository_marker.open_repository(tmp_path, result)


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_a_marker_that_is_no_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").write_text(MARKER_TEXT)
    odd(tmp_path / MARKER, kind, tmp_path / "real")
    with pytest.raises(WorkerError) as caught:
        repository_marker.open_repository(tmp_path, "old")
    assert caught.value.reason == Reason.NOT_A_REPOSITORY


def test_a_worker_never_initialises(tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        repository_marker.open_repository(tmp_path, "old")
    assert caught.value.reason == Reason.NOT_A_REPOSITORY
    assert not list(tmp_path.iterdir())


def test_writable_leaves_nothing(tmp_path: Path) -> None:
    repository_marker.check_writable(tmp_path, "pod")
    assert not list(tmp_path.iterdir())


def test_capacity(tmp_path: Path) -> None:
    room = repository_marker.capacity(tmp_path)
    assert 0 < room.free <= room.total
    stat = os.statvfs(tmp_path)
    assert (room.free_files is None) is (stat.f_files == 0)


@pytest.mark.parametrize(("files", "free_files"), [(0, None), (1000, 7)])
def test_inodes_count_where_they_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, free_files: int | None
) -> None:
    real = os.statvfs(tmp_path)
    fields = [*real]
    fields[5], fields[7] = files, 7
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert repository_marker.capacity(tmp_path).free_files == free_files


def test_capacity_of_what_is_gone(tmp_path: Path) -> None:
    with pytest.raises(WorkerError):
        repository_marker.capacity(tmp_path / "gone")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EACCES, Reason.READ_ONLY),
        (errno.ENOSPC, Reason.REPOSITORY_FULL),
        (errno.EDQUOT, Reason.REPOSITORY_FULL),
        (errno.EIO, Reason.STORAGE_ERROR),
        (errno.ESTALE, Reason.STORAGE_ERROR),
    ],
)
def test_errors_of_the_file_system(code: int, reason: Reason) -> None:
    assert storage_error(OSError(code, "words"), "doing").reason == reason
