"""The certificate's Secret is filled and kept good, whatever is done to it and whatever the API server says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.support.objects import Obj
from tests.support.sample import NAMESPACE, metadata
from tests.unit.certificates.support import pem
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster

from sendense_operator.certificates.renewal import Need, decide
from sendense_operator.certificates.subject_names import Server
from sendense_operator.cluster.errors import ClusterError, ConflictError, ForbiddenError, InvalidError, UnavailableError
from sendense_operator.cluster.kinds import SECRET, Kind
from sendense_operator.controller.certificate_renewal import CHECK_S, REMIND_AFTER, CertificateRenewal
from sendense_operator.reconcile.state.settings import Settings

NAME = "sendense-api-tls"
DAY_S = 86400.0
SETTINGS = Settings(
    worker_image="image:1",
    operator_namespace=NAMESPACE,
    certificate_secret=NAME,
    certificate_service="sendense-api",
    certificate_names=("backup.example",),
)
SERVER = Server("sendense-api", NAMESPACE, ("backup.example",))


class World:
    """A controller's renewal, whose pauses a test walks through."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = FakeCluster(self.clock)
        self.leading = asyncio.Event()
        self.leading.set()
        self.pauses: list[float] = []

    def put(self, **more: object) -> None:
        """The Secret as the chart makes it, or with `data`."""
        self.cluster.put(SECRET, {"metadata": metadata("Secret", NAME), "type": "Opaque", **more})

    @property
    def secret(self) -> Obj:
        return self.cluster.one(SECRET, NAME)

    @property
    def data(self) -> dict[str, str]:
        data: dict[str, str] = self.secret.get("data") or {}
        return data

    @property
    def good(self) -> bool:
        return decide(self.data, SERVER, self.clock.now()).need is Need.NOTHING

    async def run(self, looks: int, between: Callable[[int], None] = lambda done: None) -> None:
        """So many looks. `between`: called after each with their number."""
        ended = asyncio.Event()

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.clock.seconds += seconds
            between(len(self.pauses))
            if len(self.pauses) >= looks:
                ended.set()
                await asyncio.Event().wait()

        renewal = CertificateRenewal.of(SETTINGS, self.cluster)
        assert renewal is not None
        task = asyncio.create_task(renewal.run(self.leading, self.clock.now, pause))
        try:
            async with asyncio.timeout(10):
                await ended.wait()
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world() -> World:
    return World()


def failing_writes(world: World, error: ClusterError) -> None:
    world.cluster.failing = lambda verb, kind: error if verb == "patch" else None


def test_without_a_secret_in_the_settings_nothing_is_done(world: World) -> None:
    without = SETTINGS.model_copy(update={"certificate_secret": ""})
    assert CertificateRenewal.of(without, world.cluster) is None


async def test_an_empty_secret_is_filled_once(world: World) -> None:
    world.put()
    await world.run(3)
    assert world.good
    assert world.cluster.written == ["Secret"]
    assert world.pauses == [CHECK_S] * 3
    assert world.secret["type"] == "Opaque"


async def test_what_is_deleted_from_it_comes_again(world: World) -> None:
    world.put()
    await world.run(2, lambda done: world.put(data={}) if done == 1 else None)
    assert world.good


async def test_a_secret_that_is_gone_is_waited_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.run(8, lambda done: world.put() if done == 7 else None)
    assert world.good
    waits = world.pauses[:7]
    assert waits == sorted(waits)
    assert 0.5 <= waits[0] < 1
    assert [record.levelname for record in caplog.records if "helm upgrade" in record.message] == ["WARNING"]


async def test_who_was_slower_looks_again_and_leaves_what_the_other_one_wrote(world: World) -> None:
    world.put()
    other = World()
    other.put()
    await other.run(1)

    def faster(verb: str, kind: Kind) -> ClusterError | None:
        if verb == "patch":
            world.put(data=other.data)
            world.cluster.failing = lambda verb, kind: None
        return None

    world.cluster.failing = faster
    await world.run(2)
    assert world.data == other.data
    assert world.pauses[0] < 1
    assert world.cluster.written == []


async def test_only_the_leader_works(world: World) -> None:
    world.put()
    world.leading.clear()
    running = asyncio.create_task(world.run(1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.data == {}
    world.leading.set()
    await running
    assert world.good


async def test_who_has_lost_the_lease_stops_at_the_next_look(world: World) -> None:
    world.put()
    world.leading.set()
    seen: list[str] = []
    world.cluster.failing = lambda verb, kind: seen.append(verb)

    def lose(done: int) -> None:
        world.leading.clear()
        asyncio.get_running_loop().call_soon(world.leading.set)

    await world.run(2, lose)
    assert seen == ["get", "patch", "get"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ForbiddenError("secrets is forbidden"), "`get` and `patch`"),
        (InvalidError("data: Invalid value"), "immutable"),
        (UnavailableError("HTTP 500"), "whether the API server answers"),
        (ConflictError("modified"), "changed meanwhile"),
    ],
)
async def test_a_refusal_is_reported_once_with_advice_and_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture, error: ClusterError, advice: str
) -> None:
    caplog.set_level(logging.DEBUG)
    world.put()
    failing_writes(world, error)

    def relent(done: int) -> None:
        if done == 5:
            world.cluster.failing = lambda verb, kind: None

    await world.run(7, relent)
    assert world.good
    assert len([record for record in caplog.records if advice in record.message]) == 1
    assert world.pauses[5:] == [CHECK_S] * 2


async def test_a_trouble_that_lasts_is_reported_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    # the longest pause is a minute or a little more
    await world.run(10 + REMIND_AFTER // timedelta(minutes=1))
    reported = [record for record in caplog.records if "helm upgrade" in record.message]
    assert len(reported) == 2


async def test_what_nobody_expected_ends_nothing_either(world: World) -> None:
    world.put(data=["not", "a", "mapping"])
    await world.run(2, lambda done: world.put() if done == 1 else None)
    assert world.good
    assert world.pauses[0] < 1


async def test_time_renews_the_certificate_and_leaves_the_authority(world: World) -> None:
    world.put()
    kept: list[dict[str, str]] = []

    def wait(done: int) -> None:
        kept.append(world.data)
        world.clock.seconds += {1: 59 * DAY_S, 2: DAY_S}.get(done, 0)

    await world.run(3, wait)
    first, second, third = kept
    assert first == second
    assert {name for name in third if third[name] != second[name]} == {"tls.crt", "tls.key"}
    assert world.good


async def test_keys_are_in_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the API server quotes the patch, as it does with one that it finds invalid."""
    caplog.set_level(logging.DEBUG)
    world.put()
    await world.run(1)
    keys = [world.data["ca.key"], world.data["tls.key"]]
    keys += [pem(world.data, name).decode() for name in ("ca.key", "tls.key")]
    world.put(data={})
    failing_writes(world, InvalidError(f"patch: Invalid value: {keys}"))
    world.pauses.clear()
    await world.run(2)
    assert "InvalidError" in caplog.text
    assert not [key for key in keys if key in caplog.text]
    assert "PRIVATE" not in caplog.text
