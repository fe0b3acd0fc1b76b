"""Who shares workers: a silent appliance holds up neither Backups nor the heartbeat."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.unit.controller.test_work_queue import play

from sendense_operator.controller.health import STALE_S
from sendense_operator.controller.work_pools import Pool, pool_of, pool_sizes
from sendense_operator.controller.work_queue import WorkQueue
from sendense_operator.reconcile.dispatch import HEARTBEAT_S
from sendense_operator.reconcile.state.keys import Key, Work


@pytest.mark.parametrize("workers", [1, 2, 32, 256])
def test_every_key_has_workers(workers: int) -> None:
    sizes = pool_sizes(workers)
    assert all(sizes[pool_of(Key(work))] >= 1 for work in Work)
    assert sizes[Pool.OBJECTS] == workers


def test_hundreds_of_silent_vms_hold_up_nothing_else() -> None:
    """200 looks of 30 s each took all 32 workers for three minutes, and the heartbeat with them."""

    async def story() -> None:
        begun: list[tuple[Key, float]] = []
        now = asyncio.get_running_loop().time

        async def work(key: Key) -> float | None:
            begun.append((key, now()))
            match key.work:
                case Work.HEARTBEAT:
                    return HEARTBEAT_S
                case Work.VM:
                    await asyncio.sleep(30)
            return None

        queue = WorkQueue(work, workers=pool_sizes(32), pool_of=pool_of)
        for number in range(200):
            queue.add(Key(Work.VM, "shop", f"vm{number}"))
        queue.add(Key(Work.HEARTBEAT))
        queue.add(Key(Work.BACKUP, "shop", "b1"))
        queue.resume()
        start, task = now(), asyncio.ensure_future(queue.run())
        await asyncio.sleep(500)
        task.cancel()
        beats = [when for key, when in begun if key.work is Work.HEARTBEAT]
        assert max(later - earlier for earlier, later in itertools.pairwise(beats)) < STALE_S / 4
        assert [when for key, when in begun if key.work is Work.BACKUP] == [start]
        assert len({key for key, _ in begun if key.work is Work.VM}) == 200

    play(story())
