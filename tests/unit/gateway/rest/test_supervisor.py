import asyncio
import logging
import ssl

import pytest
from tests.support.waiting import comes_true

from sendense_operator.gateway.rest.supervisor import keep_running

QUICK = (0.001, 0.004)


class Work:
    """Fails with each of the problems in turn (None: ends), then continues until stopped."""

    def __init__(self, *problems: Exception | None) -> None:
        self.problems = list(problems)
        self.began = 0
        self.stop = asyncio.Event()

    async def __call__(self) -> None:
        self.began += 1
        if not self.problems:
            await self.stop.wait()
        elif problem := self.problems.pop(0):
            raise problem

    async def reported(self) -> None:
        async with asyncio.timeout(10):
            await keep_running("work", self, self.stop, QUICK)


async def test_what_fails_or_ends_is_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(ssl.SSLError("no key"), None, ExceptionGroup("mirrors", [TypeError("odd")]))
    task = asyncio.create_task(work.reported())
    await comes_true(lambda: work.began == 4)
    work.stop.set()
    await task
    said = [record.getMessage() for record in caplog.records]
    assert [("no key" in said[0]), ("it ended" in said[1]), ("mirrors" in said[2])] == [True] * 3
    assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]


async def test_pauses_grow_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(*(OSError("x") for _ in range(4)))
    task = asyncio.create_task(work.reported())
    await comes_true(lambda: work.began == 5)
    work.stop.set()
    await task
    pauses = [record.getMessage().partition("retry_s=")[2].split()[0] for record in caplog.records]
    assert pauses == ["0.001", "0.002", "0.004", "0.004"]


async def test_told_to_stop_it_waits_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    work = Work(OSError("x"))
    task = asyncio.create_task(keep_running("work", work, work.stop, (1000.0, 1000.0)))
    await comes_true(lambda: caplog.records)
    work.stop.set()
    async with asyncio.timeout(10):
        await task


async def test_it_is_not_begun_again_after_the_end() -> None:
    work = Work(None)
    work.stop.set()
    await work.reported()
    assert work.began == 1
