"""The program: follows the resources, serves REST, drains at SIGTERM.

A process of its own: a lost callback is a lost backup, so nothing that a REST caller does may touch the callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import disable_created_metrics

from sendense_operator.cluster.api_connection import connect_api
from sendense_operator.cluster.authorization import KubernetesAuthorizer
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.rest.object_cache import Mirrors, Stores
from sendense_operator.gateway.rest.rest_app import create_metrics_app, create_rest_app
from sendense_operator.gateway.rest.service import Service
from sendense_operator.gateway.rest.settings import RestSettings
from sendense_operator.gateway.rest.supervisor import keep_running
from sendense_operator.gateway.serving import listen, serve, stop_on_signal
from sendense_operator.logs import get_logger, setup_logging

log = get_logger(__name__)

_MAX_HEADERS: Final = 64 * 1024
"""A token may be long: with the groups of a large directory in it."""


async def main(settings: RestSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = stop_on_signal()
    api: Any = await connect_api()  # the library is not typed
    try:
        await _run(api, settings, stop)
    finally:
        await api.close()
    log.info("ended")


async def _run(api: Any, settings: RestSettings, stop: asyncio.Event) -> None:
    stores, drain = Stores(), Drain()
    mirrors = Mirrors(api, stores, settings.namespaces)
    access = KubernetesAuthorizer(api, settings.rest_review_seconds)
    service = Service(access, stores, mirrors, settings.namespaces)
    app = create_rest_app(service, drain, settings.rest_namespace, settings.rest_calls, settings.rest_calls_per_user)
    log.info(
        "listening", port=settings.rest_port, tls=bool(settings.rest_tls_folder), namespace=settings.rest_namespace
    )
    following = asyncio.create_task(keep_running("following the resources", mirrors.run, stop))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("the listener", lambda: _serve(app, settings, drain, stop), stop))
            group.create_task(keep_running("the metrics", lambda: _serve_metrics(app, settings, stop), stop))
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await access.close()


async def _serve(app: FastAPI, settings: RestSettings, drain: Drain, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises OSError for a port that is taken, or a certificate that is none."""
    with listen(settings.rest_port) as sock:
        await serve(
            app,
            drain,
            settings.drain_seconds,
            sock,
            stop,
            tls_folder=settings.rest_tls_folder,
            max_headers=_MAX_HEADERS,
        )


async def _serve_metrics(app: FastAPI, settings: RestSettings, stop: asyncio.Event) -> None:
    """Serve them until `stop` is set, and while the REST listener drains. Raises OSError for a port that is taken."""
    with listen(settings.rest_metrics_port) as sock:
        await serve(create_metrics_app(app), Drain(), settings.drain_seconds, sock, stop)


def run() -> None:
    """Entry point. Exits with 1 and a message for a wrong setting."""
    try:
        settings = RestSettings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"rest: {error}")
    setup_logging("rest", settings.log_level, log_format=settings.log_format)
    # else a further series per counter, of which no query makes use
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(main(settings))
