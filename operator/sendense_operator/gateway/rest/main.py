"""The REST listener within the gateway's program."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI

from sendense_operator.cluster.access import KubernetesAccess
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.rest.app import create_rest_app
from sendense_operator.gateway.rest.cache import Mirrors, Stores
from sendense_operator.gateway.rest.keeping import keep_running
from sendense_operator.gateway.rest.service import Service
from sendense_operator.gateway.serving import listen, serve
from sendense_operator.gateway.settings import Settings
from sendense_operator.gateway.warmup import Warmup
from sendense_operator.logs import kv

log = logging.getLogger(__name__)

_MAX_HEADERS: Final = 64 * 1024
"""A token may be long: with the groups of a large directory in it."""
_SEND_S: Final = 30.0
"""How long a caller may take for a part of its answer: a request that is not read to its end holds its place."""


@asynccontextmanager
async def rest_listener(
    api: Any, settings: Settings, drain: Drain, stop: asyncio.Event, warmup: Warmup
) -> AsyncIterator[None]:
    """Serve REST, if it is wanted, while the block runs; drains with the callbacks' listener.

    A part of it that fails is started again and again, and never ends the program. `warmup` waits for the first lists.
    """
    if not settings.rest_port:
        yield
        return
    stores = Stores()
    mirrors = Mirrors(api, stores, settings.namespaces)
    access = KubernetesAccess(api, settings.rest_review_seconds)
    service = Service(access, stores, mirrors, settings.namespaces)
    app = create_rest_app(service, drain, settings.rest_namespace, settings.rest_calls)
    log.info(kv(rest=settings.rest_port, tls=bool(settings.rest_tls_folder), namespace=settings.rest_namespace))
    warmup.expect("REST: the resources are not listed yet", lambda: mirrors.synced, settings.rest_fill_seconds)
    following = asyncio.create_task(keep_running("following the resources", mirrors.run, stop))
    serving = asyncio.create_task(keep_running("the listener", lambda: _serve(app, settings, drain, stop), stop))
    try:
        yield
        await serving
    finally:
        for task in (following, serving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await access.close()


async def _serve(app: FastAPI, settings: Settings, drain: Drain, stop: asyncio.Event) -> None:
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
            send_seconds=_SEND_S,
        )
