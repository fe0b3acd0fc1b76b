"""Restores from real images into folders that stand for claims: content, proof, and what is reported."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.host import almost_full
from tests.dataplane.layered_chain import SIZE, LayeredChain, free, marked, remove
from tests.dataplane.restoring import (
    LAST,
    KilledError,
    Run,
    assert_nothing_left,
    assert_restored,
    data_bytes,
    image,
    names,
)

from sendense_operator.answer import DamagedRange
from sendense_operator.chain.export_files import DiskData
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.task import Stage
from sendense_operator.worker.errors import Reason
from sendense_operator.worker.restore import disk_restore
from sendense_operator.worker.restore.target_marker import MARKER
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE


@pytest.mark.parametrize("point", [1, 2, 3, 4, 5])
async def test_each_restore_point_comes_back(sound: LayeredChain, targets: Path, point: int) -> None:
    run = Run(sound, targets, point)
    answer = await run.answer()
    assert (answer.outcome, answer.message) == ("Completed", "")
    assert run.steps == [*("marker", "image") * 2, *("finish",) * 2, *("publish",) * 2, *("conclude",) * 2]
    assert_restored(sound, targets, point)
    for index, disk in enumerate(answer.restored):
        expected = data_bytes(sound, point, index)
        assert (disk.index, disk.data_bytes, disk.written_bytes, disk.damaged) == (index, expected, expected, ())
        found = image(targets, index).stat()
        assert found.st_size == SIZE
        assert found.st_blocks * 512 <= expected + (256 << 10), "what is zeroes is a hole"
        assert found.st_mode & 0o777 == 0o660
    progress = run.state.progress()
    assert progress.stage is Stage.VERIFYING
    assert all(disk.completed and disk.received_bytes == SIZE for disk in progress.disks)
    assert not list((sound.root / "shop/db/.pins").glob("[0-9a-f]*"))


async def test_one_disk_of_two(sound: LayeredChain, targets: Path) -> None:
    answer = await Run(sound, targets, 3, (1,)).answer()
    assert [disk.index for disk in answer.restored] == [1]
    assert_restored(sound, targets, 3, (1,))
    assert names(targets, 0) == []


async def test_other_disks_than_those_of_the_task(sound: LayeredChain, targets: Path) -> None:
    error = await Run(sound, targets, size=SIZE + CHUNK).error()
    assert (error.reason, error.disk_index) == (Reason.DISKS_CHANGED, 0)
    (targets / "disk-2").mkdir()
    error = await Run(sound, targets, disks=(0, 2)).error()
    assert (error.reason, error.disk_index) == (Reason.DISKS_CHANGED, 2)


async def test_verify_only(chain: LayeredChain, tmp_path: Path) -> None:
    run = Run(chain, tmp_path / "none", 4, verify_only=True)
    answer = await run.answer()
    assert (answer.outcome, run.steps) == ("Completed", [])
    assert [disk.data_bytes for disk in answer.restored] == [data_bytes(chain, 4, index) for index in (0, 1)]
    assert [disk.written_bytes for disk in answer.restored] == [0, 0]
    assert not (tmp_path / "none").exists()
    chain.flip(chain.points[0], 4)
    error = await Run(chain, tmp_path / "none", 4, verify_only=True).error()
    assert (error.reason, marked(chain)) == (Reason.RESTORE_POINT_DAMAGED, ["b1", "b2", "b3", "b4"])
    answer = await Run(chain, tmp_path / "none", 4, verify_only=True, allow_damaged=True).answer()
    assert answer.restored[0].damaged == (DamagedRange(offset=4 * CHUNK, length=LAST),)


@pytest.mark.parametrize("times", [1, 2])
async def test_reading_back_finds_a_write_that_went_wrong(
    sound: LayeredChain, targets: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, numbers = os.pwrite, list(range(times))

    def wrong(fd: int, data: Any, offset: int) -> int:
        if offset == 3 * CHUNK and len(data) == CHUNK and numbers:
            numbers.pop()
            aligned = memoryview(mmap.mmap(-1, CHUNK))  # for direct I/O
            aligned[:] = data
            aligned[12345] ^= 1
            data = aligned
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", wrong)
    run = Run(sound, targets, disks=(0,))
    if times == 1:
        assert (await run.answer()).outcome == "Completed"
        assert_restored(sound, targets, disks=(0,))
        return
    error = await run.error()
    assert (error.reason, names(targets)) == (Reason.TARGET_FAULTY, [MARKER, PARTIAL_IMAGE])
    assert f"at byte {3 * CHUNK} does not read as it was written" in error.message


async def test_without_direct_io(sound: LayeredChain, targets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendense_operator.worker.restore.target_file._open_direct", lambda *_: None)
    await Run(sound, targets).answer()
    assert_restored(sound, targets)


async def test_a_claim_that_is_too_small(sound: LayeredChain, tmp_path: Path) -> None:
    with almost_full(tmp_path / "small", "disk-0", 2 * CHUNK) as targets:
        run = Run(sound, targets, disks=(0,))
        error = await run.error()
        assert (error.reason, run.steps) == (Reason.TARGET_TOO_SMALL, [])
        assert "14 MiB are needed" in error.message
        assert "only 8 MiB free" in error.message
        assert names(targets) == []


async def test_a_claim_that_becomes_full(sound: LayeredChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with almost_full(tmp_path / "small", "disk-0", 2 * CHUNK) as targets:
        monkeypatch.setattr(disk_restore.DiskRestore, "needed", DiskData(SIZE, 0, 0))
        error = await Run(sound, targets, disks=(0,)).error()
        assert error.reason == Reason.TARGET_FULL
        assert "disk 0, claim data-0: writing byte" in error.message
        assert names(targets) == []


async def test_a_restore_point_that_goes_while_it_is_restored(chain: LayeredChain, targets: Path) -> None:
    run = Run(chain, targets, 5)
    pins = list[str]()

    def go() -> None:
        remove(chain, 5)
        pins.extend(free(chain))

    run.after_chunks(1, go)
    assert (await run.answer()).outcome == "Completed"
    assert pins == [run.settings.pod_uid]
    assert_restored(chain, targets, 5)
    assert free(chain) == []
    again = await Run(chain, targets, 5).error()
    assert (again.reason, again.message) == (Reason.RESTORE_POINT_GONE, "restore point b5 was removed")
    assert_restored(chain, targets, 5)


@pytest.mark.parametrize("kill_at", [3, 8])
async def test_a_restore_point_that_went_between_two_attempts(chain: LayeredChain, targets: Path, kill_at: int) -> None:
    run = Run(chain, targets)
    run.kill_at = kill_at
    with pytest.raises(KilledError):
        await run.answer()
    remove(chain, 4)
    assert (await Run(chain, targets).error()).reason == Reason.RESTORE_POINT_GONE
    assert_nothing_left(targets)
