"""Liveness is proved by work that gets done, not by a process that is there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sendense_operator.controller import health as module
from sendense_operator.controller.health import STALE_S, STALLED_S, Health, build_app
from sendense_operator.reconcile.dispatch import TIMEOUT_S
from sendense_operator.reconcile.state.keys import Key, Work


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def election(clock: Clock, *, leading: bool = True) -> Any:
    return SimpleNamespace(last_try=clock.now, leading=SimpleNamespace(is_set=lambda: leading))


def test_a_queue_that_moves_is_well(clock: Clock) -> None:
    elected = election(clock)
    health = Health(elected)
    for _ in range(20):
        clock.now += STALE_S / 2
        elected.last_try = clock.now
        health.done(Key(Work.HEARTBEAT))
        assert health.trouble() == ""


def test_other_work_is_no_proof_that_the_heartbeat_comes_through(clock: Clock) -> None:
    elected = election(clock)
    health = Health(elected)
    clock.now += STALE_S + 1
    elected.last_try = clock.now
    health.done(Key(Work.BACKUP, "shop", "b1"))
    assert health.trouble() == "the work queue is stuck"


def test_who_does_not_lead_has_no_work_to_show(clock: Clock) -> None:
    elected = election(clock, leading=False)
    health = Health(elected)
    clock.now += 10 * STALE_S
    elected.last_try = clock.now
    assert health.trouble() == ""


def test_who_leads_anew_gets_time_for_its_first_beat(clock: Clock) -> None:
    elected = election(clock)
    health = Health(elected)
    clock.now += 10 * STALE_S
    elected.last_try = clock.now
    health.gained()
    assert health.trouble() == ""


def test_work_that_waits_for_longer_than_any_work_may_take(clock: Clock) -> None:
    assert STALLED_S > TIMEOUT_S
    health = Health(election(clock))
    for stalled, trouble in ((STALLED_S, ""), (STALLED_S + 1, "work waits, and no worker comes back")):
        health.stalled_s = lambda stalled=stalled: stalled  # type: ignore[misc]
        assert health.trouble() == trouble
    idle = Health(election(clock, leading=False))
    idle.stalled_s = lambda: 10 * STALLED_S
    assert idle.trouble() == ""


def test_an_election_that_is_stuck(clock: Clock) -> None:
    health = Health(election(clock))
    clock.now += STALE_S + 1
    assert health.trouble() == "the leader election is stuck"


async def no_metrics() -> bytes:
    return b"sendense_leading 1.0\n"


async def test_over_http(clock: Clock) -> None:
    elected = election(clock)
    health = Health(elected)
    async with TestClient(TestServer(build_app(health, no_metrics))) as client:
        assert (await client.get("/readyz")).status == 503
        health.ready = True
        assert (await client.get("/readyz")).status == 200
        health.synced = lambda: False
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/healthz")).status == 200
        scraped = await client.get("/metrics")
        assert await scraped.read() == await no_metrics()
        assert scraped.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        clock.now += STALE_S + 1
        sick = await client.get("/healthz")
        assert (sick.status, await sick.text()) == (503, "the leader election is stuck")
