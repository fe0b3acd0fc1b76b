"""A gateway and a worker stub, both on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from fastapi import FastAPI, Request, Response
from tests.support.callbackkeys import FixedKeys

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.worker_index import Worker, WorkerIndex
from sendense_operator.gateway.appliances import ApplianceIndex, ApplianceRecord
from sendense_operator.gateway.callback_routes import Gateway, create_app
from sendense_operator.gateway.caller_check import Door
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.forwarding import Forwarder
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.serving import listen, serve
from sendense_operator.gateway.unrouted_recorder import UnroutedRecorder
from sendense_operator.vma.callback_path import base_path, make_token
from sendense_operator.vma.callback_rules import CALL_ID_HEADER

UID = "0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"
JOB = f"backup-{UID}"
KEY = b"a key of the test's own"
PATH = base_path("shop", "vma", make_token(KEY, "shop", "vma", 0))
BASE = f"{PATH}/api/v1"
COMPLETE = {"change_id": "a/1", "disk_id": 0, "bytes_transferred": 0}
WORKER = Worker(
    namespace="shop",
    pod_name="db-1-x",
    uid=UID,
    job_uid="j",
    backup="db-1",
    appliance="vma",
    vm_key=names.vm_key("pg test"),
    ip="127.0.0.1",
    created="2025-10-05T12:00:00Z",
    running=True,
    ended=False,
    terminating=False,
    genuine=True,
)


class Directory:
    """A WorkerDirectory that the test fills."""

    def __init__(self) -> None:
        self.index = WorkerIndex()
        self.synced = True
        self.version = 0
        self.waiting = 0
        self._changed = asyncio.Event()
        self.find_by_pod_uid = self.index.find_by_pod_uid
        self.find_by_vm = self.index.find_by_vm
        self.find_owner = self.index.find_owner

    def put(self, worker: Worker) -> None:
        self.index.put(worker)
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_change(self, version: int) -> None:
        self.waiting += 1
        try:
            while self.version == version:
                await self._changed.wait()
        finally:
            self.waiting -= 1


class Appliances(ApplianceIndex):
    """An ApplianceView that the test fills."""

    synced = True


def base_of(namespace: str, appliance: str) -> str:
    """Base path of another appliance's calls."""
    return base_path(namespace, appliance, make_token(KEY, namespace, appliance, 0)) + "/api/v1"


Answerer = Callable[[Request, bytes], Awaitable[Response]]


async def accept(_: Request, __: bytes) -> Response:
    return Response(b'{"any": "thing"}', 200, media_type="application/json")


@dataclass
class Stub:
    """A worker: answers with `answer`, notes what came."""

    answer: Answerer = accept
    seen: list[tuple[str, str, bytes, str]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def anything(request: Request, path: str) -> Response:
            body = await request.body()
            target = "/" + path + (f"?{request.url.query}" if request.url.query else "")
            self.seen.append((request.method, target, body, request.headers.get(CALL_ID_HEADER, "")))
            return await self.answer(request, body)

        return app


@dataclass
class Rig:
    """What a test works with."""

    directory: Directory
    appliances: Appliances
    limits: CallLimits
    drain: Drain
    stub: Stub
    http: httpx.AsyncClient
    port: int
    worker_port: int
    stop: asyncio.Event
    sighted: UnroutedRecorder
    gateway: asyncio.Task[None]

    async def complete(self, job: str = JOB, **more: object) -> httpx.Response:
        return await self.http.post(f"{BASE}/backups/{job}/complete", json={**COMPLETE, **more})

    async def changeid(self, name: str = "pg test") -> httpx.Response:
        return await self.http.get(f"{BASE}/backups/changeid", params={"vm_name": name, "disk_id": "0"})


@asynccontextmanager
async def running_rig(
    hold_s: float = 10.0,
    drain_s: float = 0.0,
    limits: CallLimits | None = None,
    stub_up: bool = True,
) -> AsyncIterator[Rig]:
    """Start both; with `stub_up` False nothing listens on the worker's port yet."""
    directory, stub, drain = Directory(), Stub(), Drain()
    appliances = Appliances()
    appliances.put(ApplianceRecord("1", "shop", "vma"))
    limits = limits or CallLimits(100, 50, 20)
    worker_sock, gateway_sock = listen(0), listen(0)
    worker_port, port = worker_sock.getsockname()[1], gateway_sock.getsockname()[1]
    worker_stop, stop = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    if stub_up:
        tasks.append(asyncio.create_task(serve(stub.app(), Drain(), 0, worker_sock, worker_stop)))
    else:
        worker_sock.close()
    sighted = UnroutedRecorder()
    forwarder = Forwarder(directory, limits, hold_s, worker_port)
    app = create_app(Gateway(directory, Door(appliances, FixedKeys(KEY)), forwarder, limits, drain, sighted))
    gateway = asyncio.create_task(serve(app, drain, drain_s, gateway_sock, stop))
    tasks.append(gateway)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
            yield Rig(directory, appliances, limits, drain, stub, http, port, worker_port, stop, sighted, gateway)
    finally:
        stop.set()
        worker_stop.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
