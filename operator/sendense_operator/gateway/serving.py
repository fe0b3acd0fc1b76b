"""Serving an application until the program is requested to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.slow_readers import ConnectionBounds, bounded
from sendense_operator.logs import get_logger

log = get_logger(__name__)

MAX_HEADERS: Final = 16 * 1024
_BOUNDS: Final = ConnectionBounds()
_LOOK_AGAIN_S: Final = 5.0
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
Stamp = tuple[int, int]
"""Times of the last change of both files, in nanoseconds."""


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def stop_on_signal() -> asyncio.Event:
    """Return an event of the running loop that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve(
    app: ASGIApp,
    drain: Drain,
    drain_seconds: float,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    tls_folder: str = "",
    max_headers: int = MAX_HEADERS,
    bounds: ConnectionBounds = _BOUNDS,
) -> None:
    """Serve until `stop` is set; then turn unready, wait for the endpoints, and finish what is in flight.

    With `tls_folder` by TLS, by the `tls.crt` and `tls.key` in it. Calls in flight have no time limit here: the pod's
    terminationGracePeriodSeconds is the limit. Who does not keep the `bounds` is hung up
    on.
    """
    config = uvicorn.Config(
        app,
        http=bounded(bounds),
        log_config=None,
        access_log=False,
        server_header=False,
        # Else a caller on loopback could choose the address that it seems to come from.
        proxy_headers=False,
        timeout_graceful_shutdown=None,
        h11_max_incomplete_event_size=max_headers,
        ssl_certfile=Path(tls_folder) / CERTIFICATE if tls_folder else None,
        ssl_keyfile=Path(tls_folder) / KEY if tls_folder else None,
    )
    # taken first: what is renewed while it is read is read once more
    known = stamp_of(Path(tls_folder)) if tls_folder else None
    config.load()
    renewing = (
        asyncio.create_task(reload_certificate(config.ssl, Path(tls_folder), known))
        if config.ssl and tls_folder
        else None
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([sock]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            drain.begin()
            log.info("draining", seconds=drain_seconds)
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


async def reload_certificate(
    context: ssl.SSLContext, folder: Path, known: Stamp | None, every_s: float = _LOOK_AGAIN_S
) -> None:
    """Take over a renewed certificate for new connections, until cancelled. `known`: of the pair in the context.

    A pair that is not whole, or does not fit, changes nothing and is tried again.
    """
    while True:
        await asyncio.sleep(every_s)
        stamp = stamp_of(folder)
        if stamp in (known, None):
            continue
        try:
            _load(context, folder)
        except OSError as error:  # ssl.SSLError is one
            log.warning("certificate not reloaded", folder=folder, error=error)
            continue
        known = stamp
        log.info("certificate reloaded", folder=folder)


def _load(context: ssl.SSLContext, folder: Path) -> None:
    """Take the folder's pair over into the context. Raises OSError, and the context keeps the pair it has."""
    pair = (folder / CERTIFICATE, folder / KEY)
    # load_cert_chain has put the certificate in before it looks at the key: what does not fit must fail elsewhere
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair)
    context.load_cert_chain(*pair)


def stamp_of(folder: Path) -> Stamp | None:
    """Return what differs when the folder's pair does; None while it is not whole."""
    try:
        return (folder / CERTIFICATE).stat().st_mtime_ns, (folder / KEY).stat().st_mtime_ns
    except OSError:
        return None
