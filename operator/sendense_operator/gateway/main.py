"""The program: watches the worker pods, serves the callbacks, drains at SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from sendense_operator.cluster.client import connect_api
from sendense_operator.cluster.pods import WorkerPods
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.forward import Forwarder
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.routes import Gateway, create_app
from sendense_operator.gateway.settings import Settings
from sendense_operator.logs import kv, setup_logging

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: FastAPI, drain: Drain, drain_seconds: float, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then turn unready, wait for the endpoints, and finish what is in flight.

    Calls in flight have no time limit here: the pod's terminationGracePeriodSeconds is the limit.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=None,
        h11_max_incomplete_event_size=16 * 1024,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([sock]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            drain.begin()
            log.info(kv(drain="begin", seconds=drain_seconds))
            await asyncio.sleep(drain_seconds)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        serving.cancel()


async def main(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api: Any = await connect_api()  # the library is not typed
    try:
        pods = WorkerPods(api, settings.namespaces)
        drain = Drain()
        limits = CallLimits(settings.calls, settings.held_calls, settings.held_calls_per_appliance)
        app = create_app(Gateway(pods, Forwarder(pods, limits, settings.hold_seconds), limits, drain))
        sock = listen(settings.listen_port)
        log.info(kv(listening=settings.listen_port, namespaces=",".join(settings.namespaces) or "*"))
        watching = asyncio.create_task(pods.run())
        watching.add_done_callback(lambda _: stop.set())
        try:
            await serve(app, drain, settings.drain_seconds, sock, stop)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    finally:
        await api.close()
    log.info("ended")


def listen(port: int) -> socket.socket:
    """Return a listening socket on all addresses, IPv6 and IPv4 where there is IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)


def run() -> None:
    """Entry point. Exits with 1 and a message for a wrong setting."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"gateway: {error}")
    setup_logging("gateway", settings.log_level)
    asyncio.run(main(settings))
