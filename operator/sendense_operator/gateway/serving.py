"""Serving an application until the program is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from sendense_operator.gateway.drain import Drain
from sendense_operator.logs import kv

log = logging.getLogger(__name__)

MAX_HEADERS: Final = 16 * 1024
_LOOK_AGAIN_S: Final = 30.0
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: FastAPI,
    drain: Drain,
    drain_seconds: float,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    tls_folder: str = "",
    max_headers: int = MAX_HEADERS,
) -> None:
    """Serve until `stop` is set; then turn unready, wait for the endpoints, and finish what is in flight.

    With `tls_folder` by TLS, by the `tls.crt` and `tls.key` in it. Calls in flight
    have no time limit here: the pod's terminationGracePeriodSeconds is the limit.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=None,
        h11_max_incomplete_event_size=max_headers,
        ssl_certfile=Path(tls_folder) / CERTIFICATE if tls_folder else None,
        ssl_keyfile=Path(tls_folder) / KEY if tls_folder else None,
    )
    config.load()
    renewing = (
        asyncio.create_task(reload_certificate(config.ssl, Path(tls_folder))) if config.ssl and tls_folder else None
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
        if renewing is not None:
            renewing.cancel()


def listen(port: int) -> socket.socket:
    """Return a listening socket on all addresses, IPv6 and IPv4 where there is IPv6."""
    if socket.has_dualstack_ipv6():
        sock = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    else:
        sock = socket.create_server(("", port), backlog=1024)
    # Inherited by its connections: asyncio sets it only for sockets that name their protocol, and without it an
    # answer of two writes waits 40 ms for the caller's delayed acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def reload_certificate(context: ssl.SSLContext, folder: Path, every_s: float = _LOOK_AGAIN_S) -> None:
    """Take over a renewed certificate for new connections, until cancelled."""
    known = _stamp(folder)
    while True:
        await asyncio.sleep(every_s)
        stamp = _stamp(folder)
        if stamp in (known, None):
            continue
        try:
            context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        except (OSError, ssl.SSLError) as error:
            log.warning(kv(tls="not reloaded", error=error))
            continue
        known = stamp
        log.info(kv(tls="reloaded"))


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        return (folder / CERTIFICATE).stat().st_mtime_ns, (folder / KEY).stat().st_mtime_ns
    except OSError:
        return None
