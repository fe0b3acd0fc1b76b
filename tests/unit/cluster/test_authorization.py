import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from tests.support.loopback import loopback

from sendense_operator.cluster.authorization import Caller, KubernetesAuthorizer, UnauthenticatedError
from sendense_operator.cluster.errors import UnavailableError
from sendense_operator.cluster.kinds import BACKUP

SECRET = "the-gateways-own"
USER = {"username": "jane", "uid": "7", "groups": ["a", "b"], "extra": {"scopes": ["x"]}}


class Server:
    """An API server that knows the token `good`, and lets jane create Backups and get `mine`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Any, str]] = []
        self.status = 201

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text() or "{}")
        self.seen.append((request.method, request.path, body, request.headers.get("Authorization", "")))
        if self.status != 201:
            return web.json_response({"message": "no", "reason": "x"}, status=self.status)
        if request.path.endswith("/tokenreviews"):
            good = body["spec"]["token"] == "good"
            return web.json_response({"status": {"authenticated": good, **({"user": USER} if good else {})}})
        if request.path.endswith("/subjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            allowed = asked["verb"] == "create" or (asked["verb"], asked.get("name")) == ("get", "mine")
            return web.json_response({"status": {"allowed": allowed}})
        return web.json_response({"metadata": {"name": "x"}})


@asynccontextmanager
async def running(keep_s: float = 60.0) -> AsyncIterator[tuple[KubernetesAuthorizer, Server]]:
    server = Server()
    configuration = Configuration(api_key={"BearerToken": SECRET}, api_key_prefix={"BearerToken": "Bearer"})
    async with loopback(server.handle) as url:
        configuration.host = url
        api: Any = ApiClient(configuration)
        access = KubernetesAuthorizer(api, keep_s)
        try:
            yield access, server
        finally:
            await access.close()
            await api.close()


async def test_a_token_is_reviewed_once_by_the_gateways_own_right() -> None:
    async with running() as (access, server):
        callers = await asyncio.gather(*(access.authenticate("good") for _ in range(5)))
        assert set(callers) == {Caller("jane", "7", ("a", "b"), (("scopes", ("x",)),))}
        ((_, _, _, authorization),) = server.seen
        assert authorization == f"Bearer {SECRET}"


async def test_nothing_is_remembered_for_no_time() -> None:
    async with running(keep_s=0) as (access, server):
        await access.authenticate("good")
        await access.authenticate("good")
        assert len(server.seen) == 2


async def test_an_unknown_token() -> None:
    async with running() as (access, _):
        with pytest.raises(UnauthenticatedError):
            await access.authenticate("bad")


async def test_rights_are_requested_the_caller() -> None:
    async with running() as (access, server):
        caller = await access.authenticate("good")
        assert await access.may(caller, "create", BACKUP, "shop")
        assert not await access.may(caller, "delete", BACKUP, "shop")
        spec = server.seen[1][2]["spec"]
        assert (spec["user"], spec["groups"], spec["extra"]) == ("jane", ["a", "b"], {"scopes": ["x"]})
        assert spec["resourceAttributes"] == {
            "namespace": "shop", "verb": "create", "group": "backup.sendense.io", "resource": "backups",
        }  # fmt: skip


async def test_a_right_for_one_object_is_requested_by_its_name_and_only_when_there_is_none_for_all() -> None:
    async with running() as (access, server):
        caller = await access.authenticate("good")
        assert await access.may(caller, "get", BACKUP, "shop", "mine")
        assert not await access.may(caller, "get", BACKUP, "shop", "other")
        assert not await access.may(caller, "get", BACKUP, "shop")
        assert [await access.may(caller, "create", BACKUP, "shop", name) for name in ("a", "b")] == [True, True]
        asked = [body["spec"]["resourceAttributes"] for _, path, body, _ in server.seen if "subject" in path]
        assert [(one["verb"], one.get("name")) for one in asked] == [
            ("get", None), ("get", "mine"), ("get", "other"), ("create", None),
        ]  # fmt: skip


async def test_what_a_caller_writes_goes_with_its_token_alone() -> None:
    async with running() as (access, server):
        await access.act_with("good").create(BACKUP, {"metadata": {"namespace": "shop", "name": "x"}})
        ((_, _, _, authorization),) = server.seen
        assert authorization == "Bearer good"


async def test_a_token_that_expired_meanwhile() -> None:
    async with running() as (access, server):
        server.status = 401
        with pytest.raises(UnauthenticatedError):
            await access.act_with("good").get(BACKUP, "shop", "x")


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_trouble_of_the_gateways_own_is_not_the_callers(status: int) -> None:
    async with running() as (access, server):
        server.status = status
        with pytest.raises(UnavailableError):
            await access.authenticate("good")
        server.status = 201
        assert (await access.authenticate("good")).user == "jane"
