"""Who may take the Lease, and what the election does when the API server fails it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.waiting import comes_true
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster

from sendense_operator.cluster import lease as module
from sendense_operator.cluster.errors import UnavailableError
from sendense_operator.cluster.kinds import LEASE
from sendense_operator.cluster.lease import LeaderElection, LeaseObservation, holder_of, may_take, observe


def lease(holder: str = "other", renewed: str = "1", duration: int = 15) -> dict[str, Any]:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration}}


@pytest.mark.parametrize(
    ("holder", "unchanged_for", "taken"),
    [
        ("me", 0.0, True),
        ("", 0.0, True),
        ("other", 0.0, False),
        ("other", 14.9, False),
        ("other", 15.1, True),
    ],
)
def test_may_take(holder: str, unchanged_for: float, taken: bool) -> None:
    current = lease(holder)
    seen = LeaseObservation((holder, "1"), 100.0)
    assert may_take(current, seen, "me", 100.0 + unchanged_for) is taken


def test_the_time_counts_from_when_it_was_last_seen_to_change() -> None:
    first = observe(lease(renewed="1"), None, 100.0)
    assert observe(lease(renewed="1"), first, 110.0) is first
    assert observe(lease(renewed="2"), first, 110.0).since == 110.0


def test_an_empty_lease_has_no_holder() -> None:
    assert holder_of({}) == ""
    assert may_take({}, LeaseObservation(("", ""), 0.0), "me", 0.0)


class Candidate:
    """An election, and how often it lost the Lease."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.election = LeaderElection(cluster, "system", "lease", name)
        self.lost = 0
        self.task = asyncio.create_task(self.election.run(lambda: None, self._lose))

    def _lose(self) -> None:
        self.lost += 1

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    # long enough for a busy machine: nobody loses the lead but by what the test does
    monkeypatch.setattr(module, "RENEW_DEADLINE_S", 2.0)


async def test_one_leads_the_other_takes_over_when_it_goes() -> None:
    cluster = FakeCluster(Clock())
    first = Candidate(cluster, "first")
    await first.election.leading.wait()
    second = Candidate(cluster, "second")
    await comes_true(lambda: second.election.last_try > first.election.last_try)
    assert not second.election.leading.is_set()
    await first.stop()
    assert first.lost == 1
    async with asyncio.timeout(30):
        await second.election.leading.wait()
    assert holder_of(cluster.one(LEASE, "lease", "system")) == "second"
    await second.stop()
    assert holder_of(cluster.one(LEASE, "lease", "system")) == ""


async def test_an_api_server_that_is_away_ends_the_lead_but_not_the_election() -> None:
    cluster = FakeCluster(Clock())
    candidate = Candidate(cluster, "me")
    await candidate.election.leading.wait()
    cluster.failing = lambda verb, kind: UnavailableError("away")
    await comes_true(lambda: candidate.lost == 1)
    assert not candidate.election.leading.is_set()
    cluster.failing = lambda verb, kind: None
    async with asyncio.timeout(30):
        await candidate.election.leading.wait()
    await candidate.stop()


async def test_a_short_hiccup_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_DEADLINE_S", 60.0)
    cluster = FakeCluster(Clock())
    candidate = Candidate(cluster, "me")
    await candidate.election.leading.wait()
    errors = [UnavailableError("hiccup")]
    cluster.failing = lambda verb, kind: errors.pop() if errors else None
    tried = candidate.election.last_try
    await comes_true(lambda: not errors and candidate.election.last_try > tried)
    assert candidate.lost == 0
    await candidate.stop()
