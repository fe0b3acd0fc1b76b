"""The client, against an HTTP server on loopback that answers what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from tests.unit.cluster.recorder import Recorder, serving

from sendense_operator.cluster import kinds, pod_log
from sendense_operator.cluster.api_client import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    KubernetesCluster,
    find,
)
from sendense_operator.cluster.errors import ClusterError, InvalidError, NotFoundError, UnavailableError


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[KubernetesCluster, Recorder]]:
    configuration = Configuration()
    async with serving() as (url, server):
        configuration.host = url
        async with KubernetesCluster(ApiClient(configuration)) as cluster:
            yield cluster, server


def page(names: list[str], token: str = "") -> web.Response:
    return web.json_response({"metadata": {"continue": token}, "items": [{"metadata": {"name": n}} for n in names]})


async def test_lists_are_read_in_pages_and_their_items_typed() -> None:
    async with connected() as (cluster, server):
        server.answers = [page(["a", "b"], "more"), page(["c"])]
        found = await cluster.list_objects(kinds.BACKUP, None, labels="x=y", fields="status.phase=Pending")
        assert [obj["metadata"]["name"] for obj in found] == ["a", "b", "c"]
        assert found[0]["kind"] == "Backup"
        assert server.requests[0]["query"]["labelSelector"] == "x=y"
        assert server.requests[0]["query"]["fieldSelector"] == "status.phase=Pending"
        assert server.requests[1]["query"]["continue"] == "more"


async def test_a_list_whose_history_is_gone_begins_again() -> None:
    async with connected() as (cluster, server):
        gone = web.json_response({"reason": "Expired"}, status=410)
        server.answers = [page(["a"], "more"), gone, page(["a", "b"])]
        assert len(await cluster.list_objects(kinds.BACKUP, "shop")) == 2


async def test_a_page_is_requested_when_the_one_before_was_dealt_with() -> None:
    async with connected() as (cluster, server):
        server.answers = [page(["a", "b"], "more"), page([], "still"), page(["c"])]
        asked = []
        async for objects in cluster.pages(kinds.BACKUP, "shop", labels="x=y"):
            asked.append((len(server.requests), [(obj["kind"], obj["metadata"]["name"]) for obj in objects]))
        assert asked == [(1, [("Backup", "a"), ("Backup", "b")]), (2, []), (3, [("Backup", "c")])]
        assert [request["query"]["labelSelector"] for request in server.requests] == ["x=y"] * 3


async def test_apply_is_server_side_and_forced() -> None:
    async with connected() as (cluster, server):
        obj = {"metadata": {"namespace": "shop", "name": "b"}, "status": {"phase": "Pending"}}
        await cluster.apply(kinds.BACKUP, obj, subresource="status")
        (request,) = server.requests
        assert request["method"] == "PATCH"
        assert request["path"].endswith("/namespaces/shop/backups/b/status")
        assert request["query"] == {"fieldManager": "sendense-controller", "force": "true"}
        assert request["type"] == APPLY_PATCH
        assert request["body"]["apiVersion"] == "backup.sendense.io/v1alpha1"


async def test_patches_carry_their_type() -> None:
    async with connected() as (cluster, server):
        await cluster.json_patch(kinds.BACKUP, "shop", "b", [{"op": "add", "path": "/x", "value": 1}])
        await cluster.merge_patch(kinds.BACKUP, "shop", "b", {"metadata": {"labels": {"a": "b"}}})
        assert [request["type"] for request in server.requests] == [JSON_PATCH, MERGE_PATCH]
        assert server.requests[0]["body"] == [{"op": "add", "path": "/x", "value": 1}]


async def test_a_dry_run_and_a_deletion_with_conditions() -> None:
    async with connected() as (cluster, server):
        await cluster.create(kinds.POD, {"metadata": {"namespace": "shop", "name": "p"}}, dry_run=True)
        await cluster.delete(kinds.JOB, "shop", "j", uid="u", propagation="Foreground")
        assert server.requests[0]["query"]["dryRun"] == "All"
        body = server.requests[1]["body"]
        assert body["propagationPolicy"] == "Foreground"
        assert body["preconditions"] == {"uid": "u"}


async def test_deleting_what_is_gone_is_done() -> None:
    async with connected() as (cluster, server):
        server.answers = [web.json_response({"reason": "NotFound"}, status=404)]
        await cluster.delete(kinds.JOB, "shop", "j")


async def test_find_and_get() -> None:
    async with connected() as (cluster, server):
        server.answers = [web.json_response({"reason": "NotFound"}, status=404) for _ in range(2)]
        assert await find(cluster, kinds.POD, "shop", "p") is None
        with pytest.raises(NotFoundError):
            await cluster.get(kinds.POD, "shop", "p")


@pytest.mark.parametrize("text", ["<html>", "[]", ""])
async def test_an_answer_that_is_no_object(text: str) -> None:
    async with connected() as (cluster, server):
        server.answers = [web.Response(text=text)]
        with pytest.raises(UnavailableError):
            await cluster.get(kinds.POD, "shop", "p")


async def test_an_api_server_that_is_away() -> None:
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    async with KubernetesCluster(ApiClient(configuration)) as cluster:
        with pytest.raises(UnavailableError):
            await cluster.get(kinds.POD, "shop", "p")


async def test_a_log_is_read_by_lines() -> None:
    async with connected() as (cluster, server):
        server.answers = [web.Response(text="one\ntwo\n")]
        assert await cluster.read_log("shop", "p", "worker") == ["one", "two", ""]
        (request,) = server.requests
        assert request["path"] == "/api/v1/namespaces/shop/pods/p/log"
        assert request["query"] == {"container": "worker", "limitBytes": str(pod_log.LOG_LIMIT)}


async def test_a_log_of_any_length_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_log, "LOG_LIMIT", 1000)
    async with connected() as (cluster, server):
        server.answers = [web.Response(text="line\n" * 500_000)]
        lines = await cluster.read_log("shop", "p", "worker")
        assert len("\n".join(lines)) == 1000


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (400, InvalidError), (500, UnavailableError)])
async def test_a_log_that_is_not_there(status: int, error: type[ClusterError]) -> None:
    async with connected() as (cluster, server):
        server.answers = [web.json_response({"message": "no"}, status=status)]
        with pytest.raises(error):
            await cluster.read_log("shop", "p", "worker")


async def test_time_is_the_servers() -> None:
    """All times in objects are written by its clock; ours may be an hour off."""
    async with connected() as (cluster, server):
        assert abs(cluster.now() - datetime.now(UTC)) < timedelta(seconds=5)
        later = datetime.now(UTC) + timedelta(hours=1)
        server.answers = [web.json_response({}, headers={"Date": format_datetime(later, usegmt=True)})]
        await cluster.get(kinds.POD, "shop", "p")
        assert abs(cluster.now() - later) < timedelta(seconds=5)
        server.answers = [web.json_response({}, headers={"Date": "yesterday"})]
        await cluster.get(kinds.POD, "shop", "p")
        assert abs(cluster.now() - later) < timedelta(seconds=5)
