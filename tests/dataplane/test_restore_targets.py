"""Claims that a restore must not touch: what somebody else made stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.dataplane.layered_chain import SIZE, LayeredChain, remove
from tests.dataplane.restoring import (
    RESTORE_UID,
    KilledError,
    Run,
    assert_nothing_left,
    assert_restored,
    image,
    marker,
    names,
    partial,
)
from tests.support.chains import uid_of

from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import IMAGE
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.target_marker import TargetIdentity


async def test_an_image_that_is_not_the_disk_stays(sound: LayeredChain, targets: Path) -> None:
    await Run(sound, targets).answer()
    with image(targets, 1).open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"x")
    found = image(targets, 1).read_bytes()
    image(targets, 0).unlink()
    error = await Run(sound, targets).error()
    assert (error.reason, error.disk_index) == (Reason.TARGET_NOT_EMPTY, 1)
    assert image(targets, 1).read_bytes() == found
    assert names(targets, 0) == [], "nothing was written to the other one"


async def test_both_claims_are_checked_before_the_first_byte(sound: LayeredChain, targets: Path) -> None:
    (targets / "disk-1" / "a.txt").write_text("mine")
    for name in ("b", "c", "d"):
        (targets / "disk-1" / name).mkdir()
    run = Run(sound, targets)
    error = await run.error()
    assert (error.reason, error.disk_index, run.steps) == (Reason.TARGET_NOT_EMPTY, 1, [])
    assert "disk 1, claim data-1: " in error.message
    assert "'a.txt', 'b', 'c' and 1 more" in error.message
    assert names(targets, 0) == []
    assert names(targets, 1) == ["a.txt", "b", "c", "d"]


async def test_a_claim_that_is_refused_leaves_nothing_in_the_next(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets)
    run.kill_at = 4
    with pytest.raises(KilledError):
        await run.answer()
    (targets / "disk-0" / "a.txt").write_text("mine")
    error = await Run(sound, targets).error()
    assert (error.reason, error.disk_index) == (Reason.TARGET_NOT_EMPTY, 0)
    assert (names(targets, 0), names(targets, 1)) == (["a.txt"], [])


async def test_a_claim_that_is_not_mounted(sound: LayeredChain, targets: Path) -> None:
    (targets / "disk-1" / "lost+found").rmdir()
    (targets / "disk-1").rmdir()
    error = await Run(sound, targets).error()
    assert (error.reason, names(targets, 0)) == (Reason.TARGET_ERROR, [])


async def test_hostile_content_stays(sound: LayeredChain, targets: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    partial(targets).symlink_to(precious)
    assert (await Run(sound, targets).error()).reason == Reason.TARGET_NOT_EMPTY
    identity = TargetIdentity(restore_uid=RESTORE_UID, point_uid=sound.points[3].backup.uid, disk=0, size=SIZE)
    marker(targets).write_bytes(identity.line())
    assert (await Run(sound, targets).error()).reason == Reason.TARGET_NOT_EMPTY
    assert partial(targets).is_symlink()
    assert precious.read_text() == "mine"


async def test_what_a_restore_left_that_failed_is_in_nobody_s_way(sound: LayeredChain, targets: Path) -> None:
    """Its last attempt was ended; nothing of its image is taken over."""
    other = TargetIdentity(restore_uid=uid_of(1), point_uid=sound.points[3].backup.uid, disk=0, size=SIZE)
    marker(targets).write_bytes(other.line())
    partial(targets).write_bytes(b"x" * SIZE)
    await Run(sound, targets).answer()
    assert_restored(sound, targets)


async def test_two_pods_of_one_restore(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets)
    found = list[WorkerError]()

    def second(name: str) -> None:
        if name == "finish" and not found:
            with pytest.raises(WorkerError) as caught:
                asyncio.run(Run(sound, targets).answer())
            found.append(caught.value)

    run.on_step = second  # type: ignore[method-assign]
    await run.answer()
    assert found[0].reason == Reason.TARGET_BUSY
    assert_restored(sound, targets)


@pytest.mark.parametrize("disk", [0, 1])
async def test_an_image_that_was_made_meanwhile_stays(sound: LayeredChain, targets: Path, disk: int) -> None:
    run = Run(sound, targets)

    def make(name: str) -> None:
        if name == "publish" and not image(targets, disk).exists():
            image(targets, disk).write_text("mine")

    run.on_step = make  # type: ignore[method-assign]
    error = await run.error()
    assert (error.reason, error.disk_index) == (Reason.TARGET_NOT_EMPTY, disk)
    assert image(targets, disk).read_text() == "mine"
    assert names(targets, disk) == [IMAGE]
    assert names(targets, 1 - disk) == []


async def test_an_image_in_the_place_of_ours_stays(sound: LayeredChain, targets: Path) -> None:
    """The marker names another file than the one that has the image's name now."""
    run = Run(sound, targets)
    run.kill_at = 8
    with pytest.raises(KilledError):
        await run.answer()
    image(targets, 0).rename(targets / "moved")
    image(targets, 0).write_text("mine")
    assert (await Run(sound, targets).error()).reason == Reason.TARGET_NOT_EMPTY
    assert image(targets, 0).read_text() == "mine"
    assert_nothing_left(targets, (1,))


async def test_a_finished_image_that_is_in_use_stays(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets)
    run.kill_at = 8
    with pytest.raises(KilledError):
        await run.answer()
    with image(targets, 0).open("r+b") as file:
        file.write(b"the guest")
    assert (await Run(sound, targets).error()).reason == Reason.TARGET_NOT_EMPTY
    assert image(targets, 0).read_bytes().startswith(b"the guest")


async def test_an_image_in_use_stays_although_the_restore_fails(chain: LayeredChain, targets: Path) -> None:
    """Somebody started the VM after an attempt was interrupted at its very end."""
    run = Run(chain, targets)
    run.kill_at = 8
    with pytest.raises(KilledError):
        await run.answer()
    with image(targets, 0).open("r+b") as file:
        file.write(b"the guest")
    remove(chain, 4)
    error = await Run(chain, targets).error()
    assert error.reason == Reason.TARGET_NOT_EMPTY
    assert image(targets, 0).read_bytes().startswith(b"the guest")
