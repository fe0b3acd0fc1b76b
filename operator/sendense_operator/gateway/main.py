"""The program: watches the worker pods, serves the callbacks, drains at SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from sendense_operator.cluster.api_connection import connect_api
from sendense_operator.cluster.worker_watch import WorkerPods
from sendense_operator.gateway.appliances import Appliances
from sendense_operator.gateway.callback_routes import Gateway, create_app
from sendense_operator.gateway.caller_check import Door
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.forwarding import Forwarder
from sendense_operator.gateway.gateway_status import create_status_app
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.serving import listen, serve, stop_on_signal
from sendense_operator.gateway.settings import Settings
from sendense_operator.gateway.unrouted_recorder import UnroutedRecorder
from sendense_operator.logs import get_logger, setup_logging
from sendense_operator.vma.callback_keys import MountedKeys

log = get_logger(__name__)


async def main(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = stop_on_signal()
    api: Any = await connect_api()  # the library is not typed
    try:
        pods = WorkerPods(api, settings.namespaces)
        appliances = Appliances(api, settings.namespaces)
        keys = MountedKeys(Path(settings.callback_key_folder))
        door = Door(appliances, keys)
        sighted = UnroutedRecorder()
        drain = Drain()
        limits = CallLimits(settings.calls, settings.held_calls, settings.held_calls_per_appliance)
        app = create_app(Gateway(pods, door, Forwarder(pods, limits, settings.hold_seconds), limits, drain, sighted))
        sock, status_sock = listen(settings.listen_port), listen(settings.status_port)
        log.info("listening", port=settings.listen_port, namespaces=",".join(settings.namespaces) or "*")
        watching = asyncio.create_task(_watch(pods, appliances))
        watching.add_done_callback(lambda _: stop.set())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(app, drain, settings.drain_seconds, sock, stop))
                # Until the end: the controller learns from it what this replica sees while it drains.
                status_app = create_status_app(sighted, keys)
                group.create_task(serve(status_app, Drain(), settings.drain_seconds, status_sock, stop))
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    finally:
        await api.close()
    log.info("ended")


async def _watch(pods: WorkerPods, appliances: Appliances) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(pods.run())
        group.create_task(appliances.run())


def run() -> None:
    """Entry point. Exits with 1 and a message for a wrong setting."""
    try:
        settings = Settings.from_environment(os.environ)
        MountedKeys(Path(settings.callback_key_folder)).check()
    except ValueError as error:
        sys.exit(f"gateway: {error}")
    setup_logging("gateway", settings.log_level, log_format=settings.log_format)
    asyncio.run(main(settings))
