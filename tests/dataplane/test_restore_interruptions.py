"""Restores that are interrupted: what is left, and what the next attempt makes of it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from tests.dataplane.layered_chain import CHUNKS, SIZE, LayeredChain
from tests.dataplane.restoring import (
    LAST,
    KilledError,
    Run,
    assert_nothing_left,
    assert_restored,
    data_bytes,
    image,
    names,
    partial,
)
from tests.dataplane.rig import Bench

from sendense_operator.chain.manifest import CHUNK
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.target_marker import MARKER
from sendense_operator.worker.restore.target_place import PARTIAL_IMAGE


async def test_a_lost_answer_is_given_again(sound: LayeredChain, targets: Path) -> None:
    first = await Run(sound, targets).answer()
    before = image(targets).stat()
    again = Run(sound, targets)
    answer = await again.answer()
    assert [disk.written_bytes for disk in answer.restored] == [0, 0]
    assert [disk.data_bytes for disk in answer.restored] == [disk.data_bytes for disk in first.restored]
    assert_restored(sound, targets)
    after = image(targets).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("step", range(10))
async def test_an_interruption_at_each_step(sound: LayeredChain, targets: Path, step: int) -> None:
    run = Run(sound, targets)
    run.kill_at = step
    with pytest.raises(KilledError):
        await run.answer()
    assert len(run.steps) == step
    if step < 6:
        assert not image(targets, 0).exists()
        assert not image(targets, 1).exists()
    again = Run(sound, targets)
    answer = await again.answer()
    assert_restored(sound, targets)
    if step >= 4:
        assert [disk.written_bytes for disk in answer.restored] == [0, 0], "all of it was there"


async def test_an_interruption_between_link_and_unlink(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets)
    run.kill_at = 6
    with pytest.raises(KilledError):
        await run.answer()
    os.link(partial(targets), image(targets))
    answer = await Run(sound, targets).answer()
    assert [disk.written_bytes for disk in answer.restored] == [0, 0]
    assert_restored(sound, targets)


async def test_the_next_attempt_writes_only_the_rest(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets)

    def fail() -> None:
        raise WorkerError(Reason.STORAGE_ERROR, "for a test")

    run.after_chunks(2, fail)
    assert (await run.error()).reason == Reason.STORAGE_ERROR
    expected = sound.content(sound.points[3])
    found = partial(targets).read_bytes()
    content = sound.contents[sound.points[3].disks[0].file]
    left = [
        min(CHUNK, SIZE - at * CHUNK)
        for at in range(CHUNKS)
        if content[at] and found[at * CHUNK : (at + 1) * CHUNK] != expected[at * CHUNK : (at + 1) * CHUNK]
    ]
    assert sum(left) <= data_bytes(sound, 4, 0) - 2 * LAST
    answer = await Run(sound, targets).answer()
    assert answer.restored[0].written_bytes == sum(left)
    assert_restored(sound, targets)


async def test_what_an_earlier_attempt_left_is_not_trusted(sound: LayeredChain, targets: Path) -> None:
    """Wrong data in a chunk of data, data in a hole, and a length that is too large."""
    run = Run(sound, targets)
    run.kill_at = 4
    with pytest.raises(KilledError):
        await run.answer()
    with partial(targets).open("r+b") as file:
        file.seek(0)
        file.write(b"x" * 100)
        file.seek(CHUNK + 7)
        file.write(b"x")
        file.truncate(SIZE + 4096)
    answer = await Run(sound, targets).answer()
    assert_restored(sound, targets)
    assert answer.restored[0].written_bytes == 2 * CHUNK


async def test_the_image_of_another_restore_point_is_started_anew(sound: LayeredChain, targets: Path) -> None:
    run = Run(sound, targets, 1)
    run.kill_at = 4
    with pytest.raises(KilledError):
        await run.answer()
    answer = await Run(sound, targets, 4).answer()
    assert_restored(sound, targets)
    assert [disk.written_bytes for disk in answer.restored] == [data_bytes(sound, 4, index) for index in (0, 1)]


@pytest.mark.parametrize("requested", [True, False], ids=["cancelled", "terminated"])
async def test_a_cancellation_removes_and_a_termination_keeps(
    sound: LayeredChain, targets: Path, requested: bool
) -> None:
    await Run(sound, targets).stop_in_the_middle(requested=requested)
    if requested:
        assert_nothing_left(targets)
        return
    assert names(targets) == [MARKER, PARTIAL_IMAGE]
    answer = await Run(sound, targets).answer()
    assert answer.restored[0].written_bytes < data_bytes(sound, 4, 0)
    assert_restored(sound, targets)


@pytest.mark.parametrize("step", ["marker", "image"])
async def test_a_cancellation_while_files_are_made(sound: LayeredChain, targets: Path, step: str) -> None:
    run = Run(sound, targets)
    loop, stopped = asyncio.get_running_loop(), threading.Event()

    def stop() -> None:
        run.state.stopping.request()
        stopped.set()

    def on_step(name: str) -> None:
        if name == step:
            loop.call_soon_threadsafe(stop)
            stopped.wait(10)

    run.on_step = on_step  # type: ignore[method-assign]
    work = asyncio.create_task(run.answer())
    run.state.stopping.ends(work)
    with pytest.raises(asyncio.CancelledError):
        await work
    assert_nothing_left(targets)


def test_a_worker_that_is_killed_and_its_successor(bench: Bench, chain: LayeredChain, targets: Path) -> None:
    task = Run(chain, targets).task
    where = {"repository": str(chain.root), "targets": str(targets)}
    for step in (3, 5, 6):  # before the second image, before it has its name, before its marker is removed
        worker = bench.start(task, stop_at=step, **where)
        assert worker.wait() == -9
    answer = bench.run(task, **where)
    assert (answer.outcome, answer.reason) == ("Completed", "")
    assert answer.started is not None
    assert answer.finished is not None
    assert_restored(chain, targets)
