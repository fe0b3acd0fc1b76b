"""Consolidation of chains of real images: what is merged, what is left alone, and what interrupts it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from datetime import UTC, datetime

import pytest
from tests.dataplane.consolidating import Run, assert_sound, consolidate, depths, layers, task
from tests.dataplane.layered_chain import LayeredChain, free, marked, remove
from tests.dataplane.rig import Bench, Worker
from tests.dataplane.test_verification import Run as Verification
from tests.support.chains import PATHS, uid_of
from tests.support.waiting import comes_true

from sendense_operator.catalogue_format import PointRecord
from sendense_operator.chain.parent_blocks import mark_damage
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.task import Immutability
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.maintenance.chain_maintenance import maintain
from sendense_operator.worker.maintenance.scan_records import chain_records
from sendense_operator.worker.storage import merge_journal, recovery
from sendense_operator.worker.storage.chain_folder import mark_unfit, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.storage.pins import Pin


async def test_a_layer_in_the_middle(chain: LayeredChain) -> None:
    remove(chain, 2)
    done = await consolidate(chain)
    assert (done.merges, done.removed_layers, done.depth, done.left) == (2, 2, 1, "")
    assert done.freed_bytes > 0
    assert done.written_bytes > 0
    assert_sound(chain, (1, 3, 4, 5))
    assert depths(chain) == [[1, 1], [2, 2], [3, 3], [1, 1]]
    assert layers(chain, chain.points[1]) == [False, False]
    assert read_chain(chain.root, PATHS).tombstones == ()


async def test_the_full_grows_forward(chain: LayeredChain) -> None:
    remove(chain, 1)
    remove(chain, 2)
    done = await consolidate(chain)
    assert (done.merges, done.removed_layers) == (2, 4)
    assert_sound(chain, (3, 4, 5))
    assert depths(chain) == [[1, 1], [2, 2], [1, 1]]
    assert (await consolidate(chain)).merges == 0


async def test_one_after_the_other_until_one_is_left(chain: LayeredChain) -> None:
    for number in (1, 2, 3):
        remove(chain, number)
        await consolidate(chain)
        assert_sound(chain, range(number + 1, 6))
        assert read_chain(chain.root, PATHS).tombstones == ()
    remove(chain, 4)
    await consolidate(chain)
    assert_sound(chain, (5,))


async def test_what_frees_too_little_waits(chain: LayeredChain) -> None:
    """Manifests of the fixture say the same size of every layer: only the depth decides."""
    remove(chain, 1)
    points = [point.manifest for point in read_chain(chain.root, PATHS).points]
    for manifest in points:
        disks = tuple(disk.model_copy(update={"stored_bytes": 10}) for disk in manifest.disks)
        place = chain.root / PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]
        place.write_bytes(manifest.model_copy(update={"disks": disks}).to_json())
    assert (await consolidate(chain, everything=False, target_depth=4)).merges == 0
    assert (await consolidate(chain, everything=False, target_depth=3)).merges == 2
    assert_sound(chain, (2, 3, 4, 5))


@pytest.mark.parametrize("number", [1, 3, 4, 5])
async def test_damage_stops_it(chain: LayeredChain, number: int) -> None:
    remove(chain, 2)
    point = next(one for one in read_chain(chain.root, PATHS).points if one.manifest.sequence == number)
    mark = mark_damage(point.manifest, point.manifest.disks[0], "flipped", datetime.now(UTC))
    mark_unfit(chain.root, point, (mark,))
    run = Run(chain)
    done = (await run.answer()).consolidated
    assert done is not None
    assert (done.merges, done.left) == (0, ConsolidationObstacle.DAMAGED)
    assert layers(chain, chain.points[1]) == [True, True]
    assert run.steps == []


@pytest.mark.parametrize("number", [2, 3])
async def test_damage_that_nobody_knows_is_not_merged(chain: LayeredChain, number: int) -> None:
    """Bits of the first disk are wrong in an input: its digests refuse the merge, the second disk is merged."""
    remove(chain, 2)
    chain.flip(chain.points[number - 1], 0 if number == 2 else 1)
    before = {path: path.read_bytes() for path in (chain.root / PATHS.disk(0)).iterdir()}
    answer = await Run(chain).answer()
    assert (answer.outcome, answer.reason) == ("Failed", ConsolidationObstacle.MERGE_FAILED)
    assert answer.consolidated is not None
    assert answer.consolidated.merges == 1
    assert {path: path.read_bytes() for path in (chain.root / PATHS.disk(0)).iterdir()} == before
    assert not (chain.root / merge_journal.journal_of(PATHS)).exists()


async def test_an_immutable_restore_point(chain: LayeredChain) -> None:
    remove(chain, 1)
    remove(chain, 3)
    now = datetime.now(UTC)
    run = Run(chain, immutability=Immutability(now=now, days=36_500))
    done = (await run.answer()).consolidated
    assert done is not None
    assert (done.merges, done.left) == (0, ConsolidationObstacle.RETAINED)
    assert layers(chain, *chain.points) == [True] * 10


async def test_an_orphan_stops_it(chain: LayeredChain) -> None:
    remove(chain, 2)
    (chain.root / PATHS.disk(0) / "incr-20300101-000000.qcow2").write_bytes(b"unknown")
    done = await consolidate(chain)
    assert (done.merges, done.left) == (0, ConsolidationObstacle.ORPHANS)


async def test_no_room(chain: LayeredChain) -> None:
    remove(chain, 2)
    done = await consolidate(chain, min_free=1 << 60)
    assert (done.merges, done.left) == (0, ConsolidationObstacle.NO_ROOM)
    assert str(1 << 60) in done.message
    assert_sound(chain, (1, 3, 4, 5))


async def test_a_second_pod(chain: LayeredChain) -> None:
    remove(chain, 2)
    (chain.root / PATHS.consolidation).mkdir()
    held = ChainLock.try_acquire(chain.root / merge_journal.merge_lock_of(PATHS), chain.root, uid_of(5))
    assert held is not None
    with held:
        with pytest.raises(WorkerError) as caught:
            await Run(chain).answer()
        assert caught.value.reason == Reason.CHAIN_BUSY
        assert uid_of(5) in caught.value.message
    assert (await consolidate(chain)).merges == 2


def test_the_workers_of_two_clusters(bench: Bench, made: LayeredChain) -> None:
    """Neither controller knows of the other's: only the locks in the repository are common to them."""
    shutil.rmtree(bench.repository)
    chain = made.copied_to(bench.repository)
    remove(chain, 1)
    remove(chain, 3)
    ports = (bench.status_port, bench.status_port + 2)
    for _ in range(4):
        together = [Worker(bench, task(), status_port=port, lock_wait=0.0, switch_wait=0.0) for port in ports]
        codes = [worker.wait() for worker in together]
        refused = [worker.answer.reason for worker, code in zip(together, codes, strict=True) if code]
        assert len(refused) < 2, [worker.log() for worker in together]
        assert set(refused) <= {Reason.CHAIN_BUSY}
        assert_sound(chain, (2, 4, 5))
    assert depths(chain) == [[1, 1], [2, 2], [1, 1]]
    assert read_chain(chain.root, PATHS).tombstones == ()


async def test_a_pod_that_lost_its_lock_changes_nothing(chain: LayeredChain) -> None:
    """Another pod has taken over: whatever the first one does next, it stops."""
    remove(chain, 2)
    run = Run(chain)
    owner = chain.root / PATHS.consolidation / ".owner"

    def step(name: str) -> None:
        if name == "journal the switch":
            owner.write_text('{"podUID": "another"}')

    run.on_step = step
    with pytest.raises(WorkerError) as caught:
        await run.answer()
    assert caught.value.reason == Reason.FENCED
    assert layers(chain, chain.points[1]) == [True, True]
    assert (await consolidate(chain)).merges == 2
    assert_sound(chain, (1, 3, 4, 5))


async def test_a_backup_that_writes_the_chain_is_waited_for(chain: LayeredChain) -> None:
    """The merge goes on meanwhile; only the switch waits, and what the backup sweeps is not the merge's."""
    remove(chain, 2)
    run = Run(chain, switch_wait=60.0)
    held = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, uid_of(6))
    assert held is not None
    with held:
        work = asyncio.create_task(run.answer())
        await comes_true(lambda: "waiting for a backup" in run.state.progress().message, 60)
        assert layers(chain, chain.points[1]) == [True, True]
    done = (await work).consolidated
    assert done is not None
    assert done.merges == 2
    assert_sound(chain, (1, 3, 4, 5))


async def test_a_backup_that_does_not_end(chain: LayeredChain) -> None:
    remove(chain, 2)
    held = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, uid_of(6))
    assert held is not None
    with held:
        done = (await Run(chain).answer()).consolidated
    assert done is not None
    assert (done.merges, done.left) == (0, ConsolidationObstacle.CHAIN_BUSY)
    assert not list(chain.root.rglob("*.partial"))
    assert (await consolidate(chain)).merges == 2


async def test_a_reader_is_waited_for(chain: LayeredChain) -> None:
    """A restore or a verification that began during the merge goes on with the layers as they are."""
    remove(chain, 2)
    run = Run(chain, switch_wait=60.0)
    held = list[Pin]()

    async def pin() -> None:
        layer = chain.points[0].disks[0].file
        made = await Pin.create(chain.root, PATHS, uid_of(8), [layer], lambda: True, 1.0)
        assert made is not None
        held.append(made)

    def step(name: str) -> None:
        if name.startswith("write ") and not held:
            asyncio.get_running_loop().create_task(pin())

    run.on_step = step
    work = asyncio.create_task(run.answer())
    await comes_true(lambda: f"the pod with UID {uid_of(8)}" in run.state.progress().message, 60)
    assert layers(chain, chain.points[1]) == [True, True]
    held[0].release()
    done = (await work).consolidated
    assert done is not None
    assert done.merges == 2
    assert_sound(chain, (1, 3, 4, 5))


@pytest.mark.parametrize("number", [1, 3, 4])
async def test_a_restore_point_is_removed_during_the_merge(chain: LayeredChain, number: int) -> None:
    remove(chain, 2)
    run = Run(chain)

    def step(name: str) -> None:
        if name.startswith("write ") and len(run.steps) < 4:
            remove(chain, number)

    run.on_step = step
    answer = await run.answer()
    assert (answer.outcome, answer.consolidated and answer.consolidated.left) == ("Completed", "")
    await consolidate(chain)
    assert_sound(chain, [at for at in (1, 3, 4, 5) if at != number])
    free(chain)
    assert read_chain(chain.root, PATHS).tombstones == ()


async def test_it_is_cancelled(chain: LayeredChain) -> None:
    remove(chain, 2)
    run = Run(chain, bytes_per_second=100_000)
    work = asyncio.create_task(run.answer())
    await comes_true(lambda: "merging 1 layer into" in run.state.progress().message, 60)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not list(chain.root.rglob("*.partial"))
    assert not list((chain.root / PATHS.pins).glob("[0-9a-f]*"))
    assert (await consolidate(chain)).merges == 2
    assert_sound(chain, (1, 3, 4, 5))


@pytest.mark.parametrize("step", range(14))
def test_the_worker_is_killed_at_each_step(bench: Bench, made: LayeredChain, step: int) -> None:
    """It dies without a word; the next one, or a backup, brings the chain into order."""
    shutil.rmtree(bench.repository)
    chain = made.copied_to(bench.repository)
    remove(chain, 1)
    remove(chain, 3)
    killed = Worker(bench, task(), stop_at=step, switch_wait=0.0)
    killed.wait()
    if step % 2:
        lock = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, uid_of(6))
        assert lock is not None
        with lock:
            recovery.settle(chain.root, PATHS, None)
            recovery.sweep(chain.root, PATHS)
        assert_sound(chain, (2, 4, 5))
    again = Worker(bench, task(), switch_wait=0.0)
    assert again.wait() == 0, again.log()
    assert_sound(chain, (2, 4, 5))
    assert depths(chain) == [[1, 1], [2, 2], [1, 1]]
    assert read_chain(chain.root, PATHS).tombstones == ()


async def test_a_verification_reads_on_after_a_merge(chain: LayeredChain) -> None:
    """It knows the chain as it was when it began: each restore point is looked up once more."""
    remove(chain, 2)
    run = Verification(chain, 5, 4, 3, 1)
    original = run.state.begin

    def begin(position: int) -> None:
        original(position)
        if position == 1:
            # In a thread of its own, because this one is in the middle of the verification.
            worker = threading.Thread(target=lambda: asyncio.run(consolidate(chain)))
            worker.start()
            worker.join()

    run.state.begin = begin  # type: ignore[method-assign]
    answer = await run.answer()
    assert (answer.results, answer.message) == ("vvvv", "")
    assert marked(chain) == []
    assert layers(chain, chain.points[1]) == [False, False]


async def test_a_survey_during_a_switch_sees_no_damage(chain: LayeredChain) -> None:
    """Maintenance that finds the lock held reads the chain at each step of the switch."""
    remove(chain, 2)
    run = Run(chain)
    seen = list[str]()

    def step(name: str) -> None:
        survey = maintain(chain.root, PATHS, uid_of(8), clean=False)
        records = list(chain_records(survey))
        seen.extend(record.damage for record in records if isinstance(record, PointRecord))
        if name.startswith("replace") or name == "remove the journal":
            assert survey.is_busy
            assert not survey.is_complete

    run.on_step = step
    assert (await run.answer()).outcome == "Completed"
    assert seen
    assert set(seen) == {""}
    assert_sound(chain, (1, 3, 4, 5))
