import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from tests.support.waiting import comes_true
from tests.unit.gateway.certificates import HOST, Authority, put

from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.serving import listen, serve
from sendense_operator.gateway.slow_readers import ConnectionBounds

CHUNK = b"x" * 50_000
MANY = 40
SMALL = 4096
"""Bytes that the kernel keeps for each side, about: the rest waits in the server."""


@dataclass
class Served:
    """An application that answers with some chunks."""

    port: int
    authority: Authority | None
    count: int
    chunks: int = 0
    in_flight: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        async def chunks() -> AsyncIterator[bytes]:
            self.in_flight += 1
            try:
                for _ in range(self.count):
                    yield CHUNK
                    self.chunks += 1
            finally:
                self.in_flight -= 1

        @app.get("/")
        async def answer() -> StreamingResponse:
            return StreamingResponse(chunks())

        return app

    async def asked(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection on which the answer is asked for, whose reader takes little at a time."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, self.port))
        trust, name = (self.authority.trust(), HOST) if self.authority else (None, None)
        reader, writer = await asyncio.open_connection(sock=sock, limit=SMALL, ssl=trust, server_hostname=name)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return reader, writer


@asynccontextmanager
async def serving(send_seconds: float, tls: Path | None = None, count: int = MANY) -> AsyncIterator[Served]:
    authority = Authority() if tls else None
    if tls and authority:
        put(tls, *authority.issue())
    sock, stop = listen(0), asyncio.Event()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)  # inherited by its connections
    served = Served(sock.getsockname()[1], authority, count)
    folder = str(tls) if tls else ""
    task = asyncio.create_task(
        serve(served.app(), Drain(), 0, sock, stop, tls_folder=folder, bounds=ConnectionBounds(send_seconds))
    )
    try:
        yield served
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


@pytest.mark.parametrize("tls", [False, True])
async def test_who_does_not_read_is_dropped(tmp_path: Path, tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(0.2, tmp_path if tls else None) as served:
        reader, writer = await served.asked()
        await comes_true(lambda: "does not read" in caplog.text)
        await comes_true(lambda: served.in_flight == 0)
        got = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            got = await reader.read()
        assert len(got) < MANY * len(CHUNK)
        writer.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_who_reads_slowly_gets_all(tmp_path: Path, tls: bool) -> None:
    async with serving(5.0, tmp_path if tls else None) as served:
        reader, writer = await served.asked()
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        size = 0
        while size < MANY * len(CHUNK):
            size += len(await reader.readuntil(b"x")) + len(await reader.read(SMALL))
        assert served.chunks == MANY
        writer.close()


async def test_the_end_of_an_answer_is_waited_for_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    """All of it was handed over, and the server is requested to stop."""
    caplog.set_level(logging.DEBUG)
    async with serving(0.2, count=1) as served:
        _, writer = await served.asked()
        await comes_true(lambda: served.chunks == 1 and served.in_flight == 0)
    assert "does not read" in caplog.text
    writer.close()
