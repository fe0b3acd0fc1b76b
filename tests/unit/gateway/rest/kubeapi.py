"""An API server in memory for the gateway's program: lists, watches, reviews, writes; it can go away and come back."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from tests.support.objects import Obj


class KubeApi:
    """Knows the tokens in `callers`, each of which may do everything."""

    def __init__(self) -> None:
        self.callers = {"jane-token": "jane"}
        self.writes: list[tuple[str, str, str]] = []
        """Method, resource and Authorization of each."""
        self.listing = asyncio.Event()
        """Lists of our kinds are held until it is set."""
        self.port = 0
        self._objects: defaultdict[str, dict[str, Obj]] = defaultdict(dict)
        self._watches: defaultdict[str, list[asyncio.Queue[Obj]]] = defaultdict(list)
        self._version = 100
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def come(self) -> None:
        """Listen; after the first time on the same port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def go(self) -> None:
        """Refuse connections, and break those there are."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def put(self, plural: str, obj: Obj) -> Obj:
        """Add or replace an object."""
        name = obj["metadata"]["name"]
        self._version += 1
        meta = {"uid": f"uid-{self._version}", **obj["metadata"], "resourceVersion": str(self._version)}
        kind = "MODIFIED" if name in self._objects[plural] else "ADDED"
        made = self._objects[plural][name] = {**obj, "metadata": meta}
        self._tell(plural, kind, made)
        return made

    def _tell(self, plural: str, kind: str, obj: Obj) -> None:
        for queue in self._watches[plural]:
            queue.put_nowait({"type": kind, "object": obj})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("reviews"):
            return web.json_response({"status": self._review(await request.json())})
        plural, name = _resource(request.path)
        if request.method != "GET":
            self.writes.append((request.method, plural, request.headers.get("Authorization", "")))
        match request.method, bool(name):
            case "POST", _:
                stamp = {"creationTimestamp": "2026-11-24T01:30:00Z"}
                obj = await request.json()
                return web.json_response(self.put(plural, {**obj, "metadata": {**stamp, **obj["metadata"]}}))
            case "GET", False if "watch" in request.query:
                return await self._watch(request, plural)
            case "GET", False:
                if plural != "pods":
                    await self.listing.wait()
                items = list(self._objects[plural].values())
                return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        found = self._objects[plural].get(name)
        if found is None:
            return web.json_response({"reason": "NotFound", "message": f"{plural} {name} not found"}, status=404)
        if request.method == "DELETE":
            del self._objects[plural][name]
            self._tell(plural, "DELETED", found)
        return web.json_response(found)

    def _review(self, review: Obj) -> Obj:
        user = self.callers.get(review["spec"].get("token", ""))
        return {"authenticated": user is not None, "user": {"username": user}, "allowed": True}

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Obj] = asyncio.Queue()
        self._watches[plural].append(queue)
        try:
            while True:
                await response.write(json.dumps(await queue.get()).encode() + b"\n")
        finally:
            self._watches[plural].remove(queue)


def _resource(path: str) -> tuple[str, str]:
    """Plural and name in the path of a collection or an object."""
    parts = path.strip("/").split("/")[2 if path.startswith("/api/") else 3 :]
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    return parts[0], parts[1] if len(parts) > 1 else ""


@asynccontextmanager
async def running_kube_api() -> AsyncIterator[KubeApi]:
    api = KubeApi()
    await api.come()
    try:
        yield api
    finally:
        await api.go()
