"""The HTTP server of a worker's status port: its progress, and requests to cancel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sendense_operator.task import CANCEL_PATH, Progress
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings

_STOP_SECONDS = 10.0


def common_routes(progress: Callable[[], Progress], stopping: Stopping) -> list[Route]:
    """Return the routes that every task has: status, health and cancellation."""

    async def status(_: Request) -> Response:
        return Response(progress().model_dump_json(by_alias=True), media_type="application/json")

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def cancel(_: Request) -> Response:
        stopping.request()
        return JSONResponse({"status": "cancelling"}, status_code=202)

    return [
        Route("/v1/status", status),
        Route(CANCEL_PATH, cancel, methods=["POST"]),
        Route("/healthz", healthz),
    ]


class _Server(uvicorn.Server):
    """Server that installs no signal handlers, because the worker handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette, settings: Settings) -> AsyncIterator[None]:
    """Serve the status port while the block runs. Raises OSError if the port is in use."""
    if settings.ipv6:
        listener = socket.create_server(("::", settings.status_port), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        listener = socket.create_server(("", settings.status_port))
    # Accepted connections inherit it. Without it the second packet of an answer waits for the delayed acknowledgement
    # of the first, 40 ms for each callback; asyncio sets it only on sockets that name TCP as their protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    # The listener already queues connections, so there is no need to wait for the server's start.
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(Exception):
            await asyncio.wait_for(task, _STOP_SECONDS)
        listener.close()
