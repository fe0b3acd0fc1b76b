"""Verification of restore points on real images: what is found, what is marked, and how much is read."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from blake3 import blake3
from tests.dataplane.host import until
from tests.dataplane.layered_chain import CHUNKS, REPOSITORY_ID, SIZE, LayeredChain, free, marked, remove
from tests.dataplane.rig import Bench, Worker
from tests.support.chains import PATHS, uid_of
from tests.support.waiting import comes_true

from sendense_operator.answer import Answer
from sendense_operator.chain.manifest import CHUNK, Manifest
from sendense_operator.chain.parent_blocks import mark_change
from sendense_operator.task import FullReason, PointReference, Progress, VerificationTask
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import mark_unfit, read_chain
from sendense_operator.worker.storage.chain_lock import ChainLock
from sendense_operator.worker.verification.run_state import VerificationState
from sendense_operator.worker.verification.verification_run import run_verification

POD = uid_of(4712)
CBT_RESET = FullReason.CBT_RESET
LAST = SIZE - (CHUNKS - 1) * CHUNK


def task(manifests: list[Manifest], **changes: Any) -> VerificationTask:
    fields: dict[str, Any] = {
        "namespace": "shop",
        "vm": "db",
        "chain": "db",
        "repository_id": REPOSITORY_ID,
        "level": "Content",
        "points": [PointReference(backup=point.backup.name, backup_uid=point.backup.uid) for point in manifests],
    }
    return VerificationTask(**(fields | changes))


class Run:
    """One verification."""

    def __init__(self, chain: LayeredChain, *points: int, mark_wait: float = 0.5, **changes: Any) -> None:
        numbers = points or (5, 4, 3, 2, 1)
        self.task = task([chain.points[number - 1] for number in numbers], **changes)
        self.settings = Settings(
            pod_uid=POD, pod_ip="127.0.0.1", node_ip="", repository=chain.root, mark_wait=mark_wait, pin_wait=0.5
        )
        self.state = VerificationState(self.task, self.settings, Stopping())

    async def answer(self) -> Answer:
        return await run_verification(self.settings, self.task, self.state)


async def verify(chain: LayeredChain, *points: int, **changes: Any) -> Answer:
    return await Run(chain, *points, **changes).answer()


async def test_sound_restore_points_are_read_once(chain: LayeredChain) -> None:
    answer = await verify(chain)
    assert (answer.outcome, answer.results, answer.message) == ("Completed", "vvvvv", "")
    own = {
        5: CHUNK,
        4: 3 * CHUNK + LAST + 3 * CHUNK,  # all data of the newest of its lineage: chunks 1 to 4, and 0, 1 and 3
        3: CHUNK,  # chunk 0, which the fourth made zeroes; on the second disk, the fourth holds chunk 1 alone
        2: CHUNK + CHUNK,  # chunk 1; chunk 0 of the second disk
        1: CHUNK + CHUNK,  # chunk 0; chunk 3 of the second disk, which has the same digest but other bytes
    }
    assert answer.read_bytes == sum(own.values())
    assert marked(chain) == []
    assert not list((chain.root / PATHS.pins).glob("[0-9a-f]*"))


async def test_structure_reads_no_content(chain: LayeredChain) -> None:
    chain.flip(chain.points[0], 1)
    answer = await verify(chain, level="Structure")
    assert (answer.results, answer.read_bytes) == ("vvvvv", 0)


@pytest.mark.parametrize("points", [(5, 4, 3, 2, 1), (1,), (2,), (4, 3, 2)], ids=str)
async def test_a_flipped_bit_is_found_in_all_that_read_it(chain: LayeredChain, points: tuple[int, ...]) -> None:
    """The full's chunk 1 is read by the second restore point, too, and hidden by the third."""
    chain.flip(chain.points[0], 1)
    answer = await verify(chain, *points)
    assert answer.results == "".join("d" if number in (1, 2) else "v" for number in points)
    assert marked(chain) == ["b1", "b2"]
    assert answer.message.startswith("2 of 5 restore points do not read as they were written: b")
    assert "Disk 0: full-" in answer.message or "Disk 0: incr-" in answer.message
    assert "the content at byte 4194304 of the disk is not what was written" in answer.message


async def test_damage_below_a_chunk_that_was_written_as_it_was(chain: LayeredChain) -> None:
    chain.flip(chain.points[0], 3, disk=1)
    answer = await verify(chain)
    assert (answer.results, marked(chain)) == ("vvvvd", ["b1"])


async def test_damage_of_newer_restore_points_is_found_from_an_old_one(chain: LayeredChain) -> None:
    chain.flip(chain.points[0], 4)
    answer = await verify(chain, 1)
    assert (answer.results, marked(chain)) == ("d", ["b1", "b2", "b3", "b4"])


@pytest.mark.parametrize("level", ["Structure", "Content"])
async def test_a_truncated_layer(chain: LayeredChain, level: str) -> None:
    chain.truncate(chain.points[1])
    answer = await verify(chain, 5, 3, 2, 1, level=level)
    assert (answer.results, marked(chain)) == ("vddv", ["b2", "b3", "b4"])
    assert "truncated" in answer.message
    again = await verify(chain, level=level)
    assert again.results == "vdddv"


async def test_a_broken_digest_list_is_of_one_restore_point(chain: LayeredChain) -> None:
    path = chain.root / chain.points[2].disks[0].digest.list
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    answer = await verify(chain)
    assert (answer.results, marked(chain)) == ("vvdvv", ["b3"])
    assert "1 of 5 restore points does not read as it was written: b3. Disk 0:" in answer.message


async def test_wrong_digests_of_one_restore_point_are_not_inherited(chain: LayeredChain) -> None:
    """A list that fits its manifest, but not the content: only the digest tells, no layer in between."""
    manifest = chain.points[0]
    path = chain.root / manifest.disks[0].digest.list
    data = bytearray(path.read_bytes())
    data[32 * 4] ^= 1
    path.write_bytes(data)
    root = blake3(bytes(data)).hexdigest()
    disk = manifest.disks[0].model_copy(update={"digest": manifest.disks[0].digest.model_copy(update={"root": root})})
    changed = manifest.model_copy(update={"disks": (disk, manifest.disks[1])})
    place = PATHS.manifests(manifest.backup.name, manifest.backup.uid)[0]
    (chain.root / place).write_bytes(changed.to_json())
    answer = await verify(chain)
    assert (answer.results, marked(chain)) == ("vvvvd", ["b1"])


async def test_a_proof_removes_old_damage_marks(chain: LayeredChain) -> None:
    path = chain.root / chain.points[0].disks[0].file
    sound = path.read_bytes()
    chain.flip(chain.points[0], 4)
    await verify(chain, 1)
    assert marked(chain) == ["b1", "b2", "b3", "b4"]
    path.write_bytes(sound)
    assert (await verify(chain, level="Structure")).results == "vvvvv"
    assert marked(chain) == ["b1", "b2", "b3", "b4"], "only the content refutes damage of the content"
    assert (await verify(chain, 4, 1)).results == "vv"
    assert marked(chain) == ["b2", "b3"]


async def test_marks_wait_for_the_lock(chain: LayeredChain) -> None:
    chain.flip(chain.points[0], 1)
    lock = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, "a backup")
    assert lock is not None
    run = Run(chain, mark_wait=60)
    running = asyncio.create_task(run.answer())
    with lock:
        await comes_true(lambda: "waiting for the chain's lock" in run.state.progress().message)
        assert "".join(run.state.results) == "vvvdd"
        remove(chain, 2)
        assert marked(chain) == []
    assert ((await running).results, marked(chain)) == ("vvvdd", ["b1"])


async def test_damage_is_a_result_although_the_lock_stays_held(chain: LayeredChain) -> None:
    chain.flip(chain.points[0], 1)
    lock = ChainLock.try_acquire(chain.root / PATHS.lock, chain.root, "a backup")
    assert lock is not None
    with lock:
        answer = await verify(chain, mark_wait=0.1)
        assert (answer.outcome, answer.results, marked(chain)) == ("Completed", "vvvdd", [])


async def test_newer_marks_stay(chain: LayeredChain) -> None:
    """A backup may have marked a restore point for another reason after the verification read the chain."""
    run = Run(chain, 3)
    chain.flip(chain.points[2], 2)
    read, once = run.state.after, threading.Lock()

    def after(length: int) -> None:
        read(length)
        if not once.acquire(blocking=False):
            return
        (point,) = [point for point in read_chain(chain.root, PATHS).points if point.manifest.backup.name == "b3"]
        at, disk = datetime(2025, 10, 6, tzinfo=UTC), point.manifest.disks[0]
        mark_unfit(chain.root, point, (mark_change(point.manifest, disk, CBT_RESET, "", at),))

    run.state.after = after  # type: ignore[method-assign]
    await run.answer()
    (point,) = [point for point in read_chain(chain.root, PATHS).points if point.manifest.backup.name == "b3"]
    assert [mark.reason for mark in point.unfit] == [CBT_RESET, FullReason.PARENT_UNVERIFIED]


async def test_an_interruption_keeps_the_results(chain: LayeredChain) -> None:
    """Eight megabytes per second: the first disk takes seconds."""
    run = Run(chain, bytes_per_second=8 << 20)
    work = asyncio.create_task(run.answer())
    run.state.stopping.ends(work)
    await comes_true(lambda: run.state.results[0] == "v")
    run.state.stopping.request()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(3):
            await work
    assert "".join(run.state.results) == "voooo"
    assert "restore point 2 of 5 (b4)" in run.state.progress().message
    assert not list((chain.root / PATHS.pins).glob("[0-9a-f]*"))


async def test_a_restore_point_that_goes_while_it_is_read(chain: LayeredChain) -> None:
    """Its pin keeps the layers; it counts as gone even if what is left of it is damaged."""
    chain.flip(chain.points[4], 0)
    run = Run(chain, 5, 4)
    pins = list[str]()
    read, once = run.state.after, threading.Lock()

    def after(length: int) -> None:
        read(length)
        if once.acquire(blocking=False):
            remove(chain, 5)
            pins.extend(free(chain))

    run.state.after = after  # type: ignore[method-assign]
    answer = await run.answer()
    assert (answer.results, pins) == ("gv", [POD])
    assert (chain.root / chain.points[4].disks[0].file).exists()
    assert free(chain) == []
    assert not (chain.root / chain.points[4].disks[0].file).exists()


async def test_what_is_not_there(chain: LayeredChain) -> None:
    remove(chain, 2)
    answer = await verify(chain, 4, 2)
    assert answer.results == "vg"
    other = PointReference(backup="other", backup_uid=uid_of(99))
    adopted = PointReference(backup="adopted", backup_uid=chain.points[0].backup.uid)
    answer = await verify(chain, points=(other, adopted))
    assert answer.results == "gv"


async def test_what_says_nothing(chain: LayeredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    place = chain.root / PATHS.manifests("b3", chain.points[2].backup.uid)[0]
    place.write_bytes(b"{}")
    answer = await verify(chain, 5, 3, 1)
    assert (answer.outcome, answer.results) == ("Completed", "vfv")
    assert "1 of 3 restore points could not be verified; b3: " in answer.message
    monkeypatch.setenv("PATH", "/nonexistent")
    answer = await verify(chain, 5, 1)
    assert (answer.outcome, answer.results, answer.reason) == ("Failed", "ff", "StorageError")
    assert marked(chain) == []


async def test_another_volume_concludes_nothing(chain: LayeredChain) -> None:
    run = Run(chain, 5, repository_id="other")
    with pytest.raises(Exception, match="RepositoryChanged"):
        await run.answer()
    assert "".join(run.state.results) == "o"


def running(bench: Bench, chain: LayeredChain) -> Worker:
    """Start a worker that has verified the newest restore point, and needs seconds for the next one."""
    worker = bench.start(task(chain.points[::-1], bytes_per_second=1 << 20), repository=str(chain.root))
    found: Progress = until(
        lambda: (found := worker.progress()) and "point 2 of 5" in found.message and found, "2 of 5"
    )
    assert found.stage == "Verifying"
    return worker


def test_a_worker_is_cancelled(bench: Bench, chain: LayeredChain) -> None:
    worker = running(bench, chain)
    worker.cancel()
    assert worker.wait(5) == 42
    assert (worker.answer.outcome, worker.answer.reason, worker.answer.results) == ("Cancelled", "Cancelled", "voooo")
    assert worker.answer.read_bytes >= CHUNK


def test_a_worker_is_terminated(bench: Bench, chain: LayeredChain) -> None:
    worker = running(bench, chain)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(5) == 1
    assert (worker.answer.outcome, worker.answer.reason, worker.answer.results) == ("Cancelled", "Terminated", "voooo")


def test_a_worker_that_dies_pins_nothing(bench: Bench, chain: LayeredChain) -> None:
    worker = running(bench, chain)
    until(lambda: list((chain.root / PATHS.pins).glob("[0-9a-f]*")), "a pin")
    for number in (1, 2, 3, 4):
        remove(chain, number)
    assert free(chain) == [worker.uid] * 4
    worker.process.kill()
    worker.wait()
    assert free(chain) == []
    assert not (chain.root / chain.points[0].disks[0].file).exists()


def test_freeing_heeds_live_pins_only(chain: LayeredChain) -> None:
    reader = chain.root / PATHS.pin(uid_of(77))
    reader.parent.mkdir()
    reader.write_text("not a list")
    remove(chain, 5)
    with reader.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert free(chain) == [uid_of(77)], "what can't be read keeps everything"
    assert free(chain) == []
    assert not reader.exists()
