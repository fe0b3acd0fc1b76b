"""Search for restore points of a task, and pins of their layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.chains import PATHS, fill, increment, point, uid_of
from tests.unit.worker.support import settings

from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import PointReference, VerificationLevel, VerificationTask
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.storage import merge_journal
from sendense_operator.worker.storage.chain_folder import read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.merge_journal import MergeJournal
from sendense_operator.worker.storage.point_lookup import (
    ChainChangedError,
    PointLookup,
    locate_chain,
    read_consistently,
    read_listing,
)

FIRST, SECOND = point(1), point(2)
FILES = (FIRST.disks[0].file,)


def reference(name: str, number: int) -> PointReference:
    return PointReference(backup=name, backup_uid=uid_of(number))


@pytest.fixture
def lookup(tmp_path: Path) -> PointLookup:
    fill(tmp_path, FIRST, SECOND)
    return PointLookup(tmp_path, read_chain(tmp_path, PATHS))


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
    lookup = PointLookup(tmp_path, read_chain(tmp_path, PATHS))
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


async def test_layers_that_were_merged_meanwhile_are_not_pinned(lookup: PointLookup, tmp_path: Path) -> None:
    """The manifest tells of other layers than those that were read: whoever reads begins again."""
    found = lookup.find(reference("b1", 1))
    assert found is not None
    (disk,) = FIRST.disks
    changed = FIRST.model_copy(update={"disks": (disk.model_copy(update={"depth": 2}),)})
    manifest(tmp_path).write_bytes(changed.to_json())
    with pytest.raises(ChainChangedError):
        await lookup.pin(found, FILES, uid_of(7), 0)
    assert not (tmp_path / PATHS.pin(uid_of(7))).exists()


async def test_nothing_is_pinned_between_two_states(lookup: PointLookup, tmp_path: Path) -> None:
    found = lookup.find(reference("b1", 1))
    assert found is not None
    merge_journal.write_journal(tmp_path, PATHS, _switching(FIRST))
    with pytest.raises(ChainChangedError):
        await lookup.pin(found, FILES, uid_of(7), 0)


async def test_an_interrupted_merge_is_finished_before_the_chain_is_read(tmp_path: Path) -> None:
    """The merged layer is in its place already; the manifest is not."""
    child = increment(2, FIRST)
    fill(tmp_path, FIRST, child)
    merge_journal.write_journal(tmp_path, PATHS, _switching(child))
    reader = settings(repository=tmp_path)
    held = ChainLock.try_acquire(tmp_path / PATHS.lock, tmp_path, uid_of(8))
    assert held is not None
    with held:
        with pytest.raises(WorkerError) as caught:
            await read_listing(tmp_path, PATHS, replace(reader, lock_wait=0.0))
        assert caught.value.reason == Reason.CHAIN_BUSY
    chain = await read_listing(tmp_path, PATHS, reader)
    assert [point.manifest.disks[0].merged for point in chain.points] == [0, 1]
    assert not merge_journal.is_switching(tmp_path, PATHS)


def _switching(manifest: Manifest) -> MergeJournal:
    (disk,) = manifest.disks
    entry = disk.model_copy(update={"merged": 1})
    inputs = (disk.file, SECOND.disks[0].file)
    uid = manifest.backup.uid
    return MergeJournal(pod_uid=uid_of(9), backup_uid=uid, inputs=inputs, root=disk.digest.root, entry=entry)


async def test_a_chain_is_read_again_but_not_forever() -> None:
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        if reads < 3:
            raise ChainChangedError(Reason.CHAIN_BUSY, "merged")
        return reads

    assert await read_consistently(read) == 3

    async def never() -> int:
        nonlocal reads
        reads += 1
        raise ChainChangedError(Reason.CHAIN_BUSY, "merged")

    reads = 0
    with pytest.raises(ChainChangedError):
        await read_consistently(never)
    assert reads == 5
