"""Search for restore points of a task, and pins of their layers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chains import PATHS, fill, point, uid_of
from tests.unit.worker.support import settings

from sendense_operator.task import PointReference, VerificationLevel, VerificationTask
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage.point_lookup import PointLookup, locate_chain, read_listing

FIRST, SECOND = point(1), point(2)
FILES = (FIRST.disks[0].file,)


def reference(name: str, number: int) -> PointReference:
    return PointReference(backup=name, backup_uid=uid_of(number))


@pytest.fixture
def lookup(tmp_path: Path) -> PointLookup:
    fill(tmp_path, FIRST, SECOND)
    return PointLookup(tmp_path, read_listing(tmp_path, PATHS))


def manifest(root: Path) -> Path:
    return root / PATHS.manifests("b1", uid_of(1))[0]


def test_a_restore_point_is_found_by_its_uid(lookup: PointLookup) -> None:
    for name in ("b1", "adopted"):
        found = lookup.find(reference(name, 1))
        assert found is not None
        assert found.manifest == FIRST
    assert lookup.find(reference("b1", 9)) is None


async def test_a_restore_point_that_goes_is_not_pinned(lookup: PointLookup, tmp_path: Path) -> None:
    found = lookup.find(reference("b1", 1))
    assert found is not None
    pin = await lookup.pin(found, FILES, uid_of(7), 0)
    assert pin is not None
    with pin:
        assert (tmp_path / PATHS.pin(uid_of(7))).exists()
    manifest(tmp_path).unlink()
    assert not lookup.is_there(found)
    assert await lookup.pin(found, FILES, uid_of(7), 0) is None
    assert not (tmp_path / PATHS.pin(uid_of(7))).exists()
    assert lookup.find(reference("b1", 1)) is None


def test_what_cannot_be_read_is_not_gone(tmp_path: Path) -> None:
    fill(tmp_path, FIRST)
    manifest(tmp_path).write_bytes(b"{}")
    lookup = PointLookup(tmp_path, read_listing(tmp_path, PATHS))
    with pytest.raises(WorkerError) as caught:
        lookup.find(reference("b1", 1))
    assert caught.value.reason == Reason.STORAGE_ERROR


def test_paths_of_a_task_that_is_not_valid(tmp_path: Path) -> None:
    task = VerificationTask(
        namespace="shop",
        vm="../db",
        chain="db",
        repository_id="r",
        level=VerificationLevel.CONTENT,
        points=(reference("b1", 1),),
    )
    with pytest.raises(WorkerError) as caught:
        locate_chain(settings(repository=tmp_path), task, task.points)
    assert caught.value.reason == Reason.BAD_TASK
