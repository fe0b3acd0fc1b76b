"""The work queue on a clock that only moves when nothing else is left to do: hours pass in no time."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendense_operator.controller.work_queue import BASE_DELAY_S, MAX_DELAY_S, PoolLoad, WorkQueue, backoff


class _Clock(selectors.SelectSelector):
    """Where the loop would sleep, the time moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits for ever")
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def play(story: Coroutine[Any, Any, None]) -> None:
    loop = _Loop()
    try:
        loop.run_until_complete(asyncio.wait_for(story, 100_000))
    finally:
        loop.close()


class Bench:
    """A queue that notes what it does, and when."""

    def __init__(
        self,
        workers: int = 2,
        work: Callable[[str], Awaitable[float | None]] | None = None,
        *,
        others: Mapping[str, int] | None = None,
    ) -> None:
        """`others`: workers of further pools, by the first letter of their keys."""
        self.begun: list[tuple[str, float]] = []
        self.running: list[str] = []
        self.most = 0
        self.waits: list[tuple[str, float]] = []
        further = others or {}
        self.queue: WorkQueue[str] = WorkQueue(
            self._do,
            workers={"": workers, **further},
            pool_of=lambda key: key[0] if key[0] in further else "",
            on_start=lambda pool, waited: self.waits.append((pool, waited)),
        )
        self._work = work
        self._start = asyncio.get_running_loop().time()
        self._task = asyncio.ensure_future(self.queue.run())

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.begun]

    async def _do(self, key: str) -> float | None:
        assert key not in self.running, "two at a time for one key"
        self.begun.append((key, self.now))
        self.running.append(key)
        self.most = max(self.most, len(self.running))
        try:
            return await self._work(key) if self._work else None
        finally:
            self.running.remove(key)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def takes(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_events_fold_into_one() -> None:
    async def story() -> None:
        bench = Bench()
        for _ in range(5):
            bench.queue.add("a")
        bench.queue.add("b")
        bench.queue.resume()
        await takes(1)
        assert bench.keys == ["a", "b"]
        assert bench.queue.idle
        await bench.end()

    play(story())


def test_an_event_during_the_work_means_another_look() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(10)
            return 500

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("a")
        await takes(5)
        for _ in range(3):
            bench.queue.add("a")
        await takes(95)
        assert bench.begun == [("a", 0), ("a", 10)]
        await bench.end()

    play(story())


def test_no_more_workers_than_allowed_and_nobody_starves() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(10)
            return None

        bench = Bench(workers=3, work=work)
        bench.queue.resume()
        for number in range(7):
            bench.queue.add(str(number))
        await takes(31)
        assert bench.keys == [str(number) for number in range(7)]
        assert bench.most == 3
        await bench.end()

    play(story())


def test_pools_do_not_wait_for_each_other() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(30 if key[0] == "s" else 1)
            return None

        bench = Bench(workers=2, work=work, others={"s": 3})
        bench.queue.resume()
        for number in range(9):
            bench.queue.add(f"s{number}")
        for number in range(4):
            bench.queue.add(f"q{number}")
        await takes(95)
        when = dict(bench.begun)
        assert [when[f"q{number}"] for number in range(4)] == [0, 0, 1, 1]
        assert [when[f"s{number}"] for number in range(9)] == [0, 0, 0, 30, 30, 30, 60, 60, 60]
        assert bench.most == 5
        await bench.end()

    play(story())


def test_how_busy_each_pool_is_and_how_long_keys_wait() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(10)
            return None

        bench = Bench(workers=1, work=work, others={"x": 2})
        bench.queue.resume()
        for key in ("a", "b", "c", "x1"):
            bench.queue.add(key)
        await takes(5)
        bench.queue.add("c")  # it waits already, and does not begin to wait anew
        assert bench.queue.loads() == {"": PoolLoad(2, 1, 1), "x": PoolLoad(0, 1, 2)}
        await takes(50)
        assert bench.waits == [("", 0), ("x", 0), ("", 10), ("", 20)]
        assert bench.queue.loads() == {"": PoolLoad(0, 0, 1), "x": PoolLoad(0, 0, 2)}
        await bench.end()

    play(story())


def test_work_that_waits_for_workers_who_never_come_back_is_noticed() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(10_000 if key == "hangs" else 100)
            return None

        bench = Bench(workers=1, work=work, others={"s": 1})
        assert bench.queue.stalled_s == 0
        bench.queue.resume()
        bench.queue.add("hangs")
        await takes(500)
        assert bench.queue.stalled_s == 0, "nothing waits"
        for number in range(5):
            bench.queue.add(f"s{number}")
        await takes(250)
        assert bench.queue.stalled_s == pytest.approx(50), "one of them began then: it is slow, but gets done"
        await takes(200)
        bench.queue.add("waits")
        await takes(60)
        bench.queue.add("waits too")
        await takes(60)
        assert bench.queue.stalled_s == pytest.approx(120)
        bench.queue.pause()
        await takes(1)
        assert bench.queue.stalled_s == 0, "who does not lead has nothing to do"
        bench.queue.resume()
        await takes(1)
        assert bench.queue.stalled_s <= 1
        await bench.end()

    play(story())


def test_a_result_is_the_time_of_the_next_look() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            return 60

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("a")
        await takes(150)
        assert bench.begun == [("a", 0), ("a", 60), ("a", 120)]
        await bench.end()

    play(story())


def test_the_earliest_plan_counts_and_an_event_overtakes_it() -> None:
    async def story() -> None:
        bench = Bench()
        bench.queue.resume()
        bench.queue.add_after("a", 100)
        bench.queue.add_after("a", 50)
        bench.queue.add_after("a", 70)
        bench.queue.add_after("b", 50)
        await takes(20)
        bench.queue.add("b")
        await takes(200)
        assert bench.begun == [("b", 20), ("a", 50)]
        await bench.end()

    play(story())


def test_what_fails_is_tried_again_ever_more_slowly_and_recovers() -> None:
    async def story() -> None:
        healthy = False

        async def work(key: str) -> float | None:
            if not healthy and key == "bad":
                raise RuntimeError("no")
            return None

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("bad")
        await takes(600)
        times = [when for _, when in bench.begun]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert pauses == sorted(pauses) or max(pauses) > MAX_DELAY_S  # the jitter may swap the longest
        assert pauses[0] >= BASE_DELAY_S
        assert max(pauses) <= MAX_DELAY_S * 1.1
        bench.queue.add("good")
        await takes(1)
        assert bench.keys[-1] == "good"
        healthy = True
        await takes(100)
        healthy, before = False, len(bench.begun)
        bench.queue.add("bad")
        await takes(BASE_DELAY_S * 1.2)
        assert len(bench.begun) == before + 2  # its failures of then are forgotten
        await bench.end()

    play(story())


@pytest.mark.parametrize("failures", [1, 2, 5, 8, 100, 10_000])
def test_backoff_is_bounded(failures: int) -> None:
    assert BASE_DELAY_S <= backoff(failures, 0) <= backoff(failures, 1) <= MAX_DELAY_S * 1.1
    assert backoff(failures, 0) <= backoff(failures + 1, 0)


def test_nothing_runs_before_it_may() -> None:
    async def story() -> None:
        bench = Bench()
        bench.queue.add("a")
        bench.queue.add_after("b", 5)
        await takes(60)
        assert bench.begun == []
        bench.queue.resume()
        await takes(1)
        assert sorted(bench.keys) == ["a", "b"]
        await bench.end()

    play(story())


def test_a_pause_stops_what_runs_and_it_is_done_again() -> None:
    async def story() -> None:
        stopped = []

        async def work(key: str) -> float | None:
            try:
                await takes(100)
            except asyncio.CancelledError:
                stopped.append(key)
                raise
            return None

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("a")
        await takes(10)
        bench.queue.pause()
        bench.queue.add("b")
        await takes(200)
        assert stopped == ["a"]
        assert bench.keys == ["a"]
        bench.queue.resume()
        await takes(150)
        assert bench.keys == ["a", "b", "a"] or bench.keys == ["a", "a", "b"]
        await bench.end()

    play(story())


def test_what_somebody_else_cancels_is_done_again() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            if len(bench.begun) == 1:
                raise asyncio.CancelledError
            return None

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("a")
        await takes(1)
        assert bench.keys == ["a", "a"]
        await bench.end()

    play(story())


def test_the_end_stops_what_runs() -> None:
    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(100)
            return None

        bench = Bench(work=work)
        bench.queue.resume()
        bench.queue.add("a")
        await takes(1)
        await bench.end()
        assert bench.running == []

    play(story())


steps = st.tuples(
    st.sampled_from("abc"), st.sampled_from(["add", "after", "pause", "resume", "wait"]), st.integers(0, 9)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, max_size=40))
def test_whatever_happens_the_last_change_is_looked_at(history: list[tuple[str, str, int]]) -> None:
    """Each key is checked after its last event, one reconcile of a key at a time (the bench sees to that)."""

    async def story() -> None:
        async def work(key: str) -> float | None:
            await takes(3)
            if len(bench.begun) % 4 == 1:
                raise RuntimeError("now and then")
            return None

        bench = Bench(work=work)
        last: dict[str, float] = {}
        for key, step, number in history:
            match step:
                case "add":
                    bench.queue.add(key)
                    last[key] = bench.now
                case "after":
                    bench.queue.add_after(key, number)
                    last[key] = bench.now
                case "pause":
                    bench.queue.pause()
                case "resume":
                    bench.queue.resume()
                case "wait":
                    await takes(number)
        bench.queue.resume()
        await takes(1000)
        for key, when in last.items():
            assert any(begun == key and start >= when for begun, start in bench.begun), key
        assert bench.queue.idle
        await bench.end()

    play(story())
