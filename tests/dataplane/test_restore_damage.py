"""Restores of damaged restore points: nothing wrong is written, and what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from tests.dataplane.layered_chain import LayeredChain, marked, remove
from tests.dataplane.restoring import LAST, KilledError, Run, assert_nothing_left, assert_restored, image, partial

from sendense_operator.answer import DamagedRange
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.worker.errors import Reason


async def test_a_flipped_bit_ends_the_restore(chain: LayeredChain, targets: Path) -> None:
    chain.flip(chain.points[0], 1)
    error = await Run(chain, targets, 2).error()
    assert (error.reason, error.disk_index) == (Reason.RESTORE_POINT_DAMAGED, 0)
    assert "restore point b2, disk 0: " in error.message
    assert f"the content at byte {CHUNK} of the disk is not what was written" in error.message
    assert error.message.endswith("The newest restore point without known damage is b5")
    assert marked(chain) == ["b1", "b2"]
    assert_nothing_left(targets)


async def test_the_newest_sound_restore_point_does_not_show_the_damage(chain: LayeredChain, targets: Path) -> None:
    chain.flip(chain.points[0], 4)
    remove(chain, 5)
    error = await Run(chain, targets, 1).error()
    assert marked(chain) == ["b1", "b2", "b3", "b4"]
    assert error.message.endswith("No restore point of this chain is without known damage")


async def test_damage_is_made_zeroes_if_the_task_allows_it(chain: LayeredChain, targets: Path) -> None:
    chain.flip(chain.points[0], 1)
    chain.flip(chain.points[1], 0)
    chain.flip(chain.points[0], 4)
    answer = await Run(chain, targets, 2, allow_damaged=True).answer()
    assert answer.outcome == "Completed"
    assert answer.message == "disk 0: 2 ranges (9 MiB) were damaged and are zeroes"
    disk = answer.restored[0]
    assert disk.damaged == (
        DamagedRange(offset=0, length=2 * CHUNK),
        DamagedRange(offset=4 * CHUNK, length=LAST),
    )
    assert disk.damaged_bytes == 2 * CHUNK + LAST
    assert disk.written_bytes == 0, "nothing of what is damaged was ever written"
    expected = bytearray(chain.content(chain.points[1]))
    expected[: 2 * CHUNK] = bytes(2 * CHUNK)
    expected[4 * CHUNK :] = bytes(LAST)
    assert image(targets).read_bytes() == expected
    assert "b2" in marked(chain)
    again = await Run(chain, targets, 2, allow_damaged=True).answer()
    assert again.restored[0].damaged == disk.damaged
    assert image(targets).read_bytes() == expected


async def test_damaged_ranges_do_not_come_from_a_former_attempt(chain: LayeredChain, targets: Path) -> None:
    run = Run(chain, targets, 2)
    run.kill_at = 4
    with pytest.raises(KilledError):
        await run.answer()
    with partial(targets).open("r+b") as file:
        file.seek(CHUNK)
        file.write(b"x" * 100)
    chain.flip(chain.points[0], 1)
    answer = await Run(chain, targets, 2, allow_damaged=True).answer()
    assert answer.restored[0].damaged == (DamagedRange(offset=CHUNK, length=CHUNK),)
    expected = bytearray(chain.content(chain.points[1]))
    expected[CHUNK : 2 * CHUNK] = bytes(CHUNK)
    assert image(targets).read_bytes() == expected


@pytest.mark.parametrize("allow_damaged", [False, True])
async def test_a_truncated_layer(chain: LayeredChain, targets: Path, allow_damaged: bool) -> None:
    chain.truncate(chain.points[1])
    error = await Run(chain, targets, 3, allow_damaged=allow_damaged).error()
    assert error.reason == Reason.RESTORE_POINT_DAMAGED
    assert "truncated" in error.message
    assert f"(layer {chain.points[1].disks[0].file})" in error.message
    assert marked(chain) == ["b2", "b3", "b4"]
    assert_nothing_left(targets)


async def test_a_broken_digest_list(chain: LayeredChain, targets: Path) -> None:
    path = chain.root / chain.points[2].disks[0].digest.list
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    error = await Run(chain, targets, 3, allow_damaged=True).error()
    assert (error.reason, marked(chain)) == (Reason.RESTORE_POINT_DAMAGED, ["b3"])


def claim_lost_data(chain: LayeredChain) -> None:
    """Make the digests of the first restore point's first disk say that chunk 2, which no layer has, held data."""
    manifest = chain.points[0]
    path = chain.root / manifest.disks[0].digest.list
    data = bytearray(path.read_bytes())
    data[32 * 2] ^= 1
    path.write_bytes(data)
    digest = manifest.disks[0].digest.model_copy(update={"root": blake3(bytes(data)).hexdigest()})
    changed = manifest.model_copy(
        update={"disks": (manifest.disks[0].model_copy(update={"digest": digest}), manifest.disks[1])}
    )
    (chain.root / "shop/db/backups").mkdir(exist_ok=True)
    place = next(path for path in chain.root.rglob("b1*.json"))
    place.write_bytes(changed.to_json())


async def test_data_that_no_layer_has_any_more(chain: LayeredChain, targets: Path) -> None:
    claim_lost_data(chain)
    run = Run(chain, targets, 1)
    error = await run.error()
    assert (error.reason, marked(chain)) == (Reason.RESTORE_POINT_DAMAGED, ["b1"])
    assert f"byte {2 * CHUNK} of the disk" in error.message
    assert run.steps == [], "it is known before the first byte"
    assert_nothing_left(targets)
    answer = await Run(chain, targets, 1, allow_damaged=True).answer()
    assert answer.restored[0].damaged == (DamagedRange(offset=2 * CHUNK, length=CHUNK),)
    assert_restored(chain, targets, 1)
    assert (await Run(chain, targets, 1, verify_only=True).error()).reason == Reason.RESTORE_POINT_DAMAGED


async def test_damage_of_the_second_disk_leaves_no_first_one(chain: LayeredChain, targets: Path) -> None:
    chain.flip(chain.points[3], 1, disk=1)
    error = await Run(chain, targets).error()
    assert (error.reason, error.disk_index) == (Reason.RESTORE_POINT_DAMAGED, 1)
    assert_nothing_left(targets)


async def test_damage_leaves_no_finished_image(chain: LayeredChain, targets: Path) -> None:
    """The first disk had its name already when the attempt was interrupted."""
    run = Run(chain, targets, 3)
    run.kill_at = 7
    with pytest.raises(KilledError):
        await run.answer()
    assert image(targets, 0).exists()
    chain.truncate(chain.points[1])
    assert (await Run(chain, targets, 3).error()).reason == Reason.RESTORE_POINT_DAMAGED
    assert_nothing_left(targets)
