import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from tests.unit.cluster.apiserver import FakeApi, pod, running_api

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import informer
from sendense_operator.cluster.worker_watch import WorkerPods


@asynccontextmanager
async def following(*namespaces: str) -> AsyncIterator[tuple[WorkerPods, FakeApi]]:
    async with running_api() as api:
        configuration = Configuration()
        configuration.host = api.url
        client: Any = ApiClient(configuration)
        workers = WorkerPods(client, namespaces)
        task = asyncio.create_task(workers.run())
        try:
            yield workers, api
        finally:
            assert not task.done(), task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "_BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr(informer, "_PAUSE_S", 0.01)


async def until(workers: WorkerPods, condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while True:
            version = workers.version
            if condition():
                return
            await workers.wait_change(version)


def known(workers: WorkerPods, uids: Sequence[str]) -> Callable[[], bool]:
    return lambda: [u for u in "abcd" if workers.find_by_pod_uid("shop", "vma", u)] == list(uids)


async def test_list_then_follow() -> None:
    async with following() as (workers, api):
        api.pods = [pod("a")]
        await until(workers, known(workers, "a"))
        assert workers.synced
        api.send("ADDED", pod("b", phase="Pending"))
        await until(workers, known(workers, "ab"))
        api.send("MODIFIED", pod("b"))
        await until(workers, lambda: (found := workers.find_by_pod_uid("shop", "vma", "b")) and found.running)
        api.send("DELETED", pod("a"))
        await until(workers, known(workers, "b"))
        assert api.lists[0]["labelSelector"] == f"{names.LABEL_COMPONENT}=worker"
        assert api.watches[0]["labelSelector"] == f"{names.LABEL_COMPONENT}=worker"
        assert api.watches[0]["resourceVersion"] == "100"
        assert api.lists[0]["path"] == "/api/v1/pods"


async def test_an_ended_watch_goes_on_where_it_ended() -> None:
    async with following() as (workers, api):
        await until(workers, lambda: workers.synced)
        api.send("ADDED", pod("a"))
        await until(workers, known(workers, "a"))
        api.send("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": ""}})
        api.events.put_nowait(None)
        api.send("ADDED", pod("b"))
        await until(workers, known(workers, "ab"))
        assert [watch["resourceVersion"] for watch in api.watches] == ["100", "102"]
        assert len(api.lists) == 1


async def test_a_history_too_short_is_listed_again() -> None:
    async with following() as (workers, api):
        api.pods = [pod("a"), pod("b")]
        await until(workers, known(workers, "ab"))
        api.pods = [pod("b"), pod("c")]
        api.resource_version = 500
        api.events.put_nowait({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "old"}})
        await until(workers, known(workers, "bc"))
        api.send("ADDED", pod("d"))
        await until(workers, known(workers, "bcd"))
        assert [watch["resourceVersion"] for watch in api.watches] == ["100", "500"]


@pytest.mark.parametrize(
    "failure",
    [
        lambda: web.Response(status=410, text="{}"),
        lambda: web.Response(status=403, text="forbidden"),
        lambda: web.Response(status=404, text="a proxy's page"),
        lambda: web.Response(status=500, text="etcd"),
        lambda: web.Response(status=200, text="<html>"),
        lambda: web.Response(status=200, text="[]"),
        lambda: web.Response(status=200, text="{}"),
        lambda: web.Response(status=200, text='{"metadata": {"resourceVersion": "1"}}'),
    ],
)
async def test_failures_are_retried_and_what_is_known_stays(failure: Callable[[], web.Response]) -> None:
    async with following() as (workers, api):
        api.pods = [pod("a")]
        await until(workers, known(workers, "a"))
        api.failures = [failure() for _ in range(3)]
        api.pods = [pod("a"), pod("b")]
        api.events.put_nowait({"type": "ERROR", "object": {"code": 500, "reason": "x", "message": "x"}})
        lists = len(api.lists)
        while len(api.lists) < lists + 3:
            assert workers.synced
            assert known(workers, "a")()
            await asyncio.sleep(0.001)
        await until(workers, known(workers, "ab"))


async def test_not_synced_before_the_first_list() -> None:
    async with following() as (workers, api):
        api.failures = [web.Response(status=500, text="x") for _ in range(5)]
        assert not workers.synced
        await until(workers, lambda: workers.synced)
        assert len(api.lists) >= 1


async def test_namespaces_are_followed_one_by_one() -> None:
    async with following("shop", "lab") as (workers, api):
        await until(workers, lambda: workers.synced)
        async with asyncio.timeout(5):
            while len(api.watches) < 2:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.01)
        assert {one["path"] for one in api.lists + api.watches} == {
            "/api/v1/namespaces/shop/pods",
            "/api/v1/namespaces/lab/pods",
        }


async def test_a_long_list_comes_in_pages() -> None:
    async with following() as (workers, api):
        api.page = 2
        api.pods = [pod(uid) for uid in "abc"]
        await until(workers, known(workers, "abc"))
        assert [one.get("continue") for one in api.lists] == [None, "2"]
        assert int(api.lists[0]["limit"]) > 0


async def test_an_expired_page_starts_over_and_drops_nothing() -> None:
    async with following() as (workers, api):
        api.pods = [pod("a")]
        await until(workers, known(workers, "a"))
        api.page = 1
        api.pods = [pod("a"), pod("b")]
        api.events.put_nowait({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "old"}})
        api.failures = [web.Response(status=410, text="{}")]
        await until(workers, known(workers, "ab"))


async def test_a_large_event_is_read() -> None:
    async with following() as (workers, api):
        await until(workers, lambda: workers.synced)
        large = pod("a")
        large["metadata"]["annotations"] = {"text": "x" * 300_000}
        api.send("ADDED", large)
        await until(workers, known(workers, "a"))
        assert workers.age_s < 10
