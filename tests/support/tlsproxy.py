"""TLS in front of a plain HTTP service: what the field puts beside an appliance."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import trustme
from tests.support.host import ANY

_PIECE: Final = 64 << 10


@dataclass
class Proxy:
    """A proxy that runs."""

    url: str
    """Base URL, https."""
    connections: int = 0
    """How many clients got through the handshake."""


@contextmanager
def in_front_of(base: str, authority: trustme.CA) -> Iterator[Proxy]:
    """A proxy on the address of `base`, an http URL, with a certificate of `authority` for it."""
    target = urlsplit(base)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(str(target.hostname)).configure_cert(context)
    proxy = Proxy("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        try:
            there = await asyncio.open_connection(target.hostname, target.port)
            await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
        finally:
            writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, ANY, 0, ssl=context))
    proxy.url = f"https://{target.hostname}:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, name="tls-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
    with suppress(OSError, ssl.SSLError):
        target.close()
