"""Connections that send no request: they end, and keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from tests.support.waiting import comes_true

from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.serving import listen, serve
from sendense_operator.gateway.slow_readers import ConnectionBounds

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(bounds: ConnectionBounds, hold: asyncio.Event | None = None) -> AsyncIterator[int]:
    app = FastAPI()

    @app.get("/")
    async def answer() -> str:
        if hold is not None:
            await hold.wait()
        return "ok"

    sock, stop = listen(0), asyncio.Event()
    task = asyncio.create_task(serve(app, Drain(), 0, sock, stop, bounds=bounds))
    try:
        yield sock.getsockname()[1]
    finally:
        if hold is not None:
            hold.set()
        stop.set()
        async with asyncio.timeout(10):
            await task


async def connected(port: int, first: bytes = b"") -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    await writer.drain()
    return reader, writer


async def ended(streams: Streams) -> None:
    """Until the server has hung up, without an answer."""
    got = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            got = await streams[0].read()
    assert got == b""
    streams[1].close()


async def answered(port: int) -> bool:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        return (await http.get(f"http://127.0.0.1:{port}/")).is_success


async def test_headers_have_a_deadline_however_they_trickle() -> None:
    async with serving(ConnectionBounds(header_seconds=0.3)) as port:
        silent = await connected(port)
        trickling = await connected(port, b"GET / HTTP/1.1\r\nHost: x\r\n")

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while not trickling[1].is_closing():
                    trickling[1].write(b"X-More: 1\r\n")
                    await trickling[1].drain()
                    await asyncio.sleep(0.05)

        more = asyncio.create_task(trickle())
        await asyncio.gather(ended(silent), ended(trickling))
        more.cancel()


async def test_the_second_request_of_a_connection_has_one_too() -> None:
    async with serving(ConnectionBounds(header_seconds=0.3)) as port:
        reader, writer = await connected(port, REQUEST)
        assert b"200 OK" in await reader.readuntil(b'"ok"')
        writer.write(b"GET / HT")
        await ended((reader, writer))


async def test_an_answer_may_take_longer_than_headers() -> None:
    hold = asyncio.Event()
    async with serving(ConnectionBounds(header_seconds=0.1), hold) as port:
        reader, writer = await connected(port, REQUEST)
        await ended(await connected(port))  # as long as the deadline, and longer
        hold.set()
        assert b"200 OK" in await reader.readuntil(b'"ok"')
        writer.close()


async def test_idle_connections_keep_nobody_out() -> None:
    """Neither new callers nor those whose request is being answered: the oldest idle one goes."""
    hold = asyncio.Event()
    async with serving(ConnectionBounds(waiting=4, open=6), hold) as port:
        served = await connected(port, REQUEST)
        idle = [await connected(port) for _ in range(4)]
        last = await connected(port)
        await ended(idle[0])
        hold.set()
        assert await answered(port)
        assert b"200 OK" in await served[0].readuntil(b'"ok"')
        for _, writer in [served, *idle[1:], last]:
            writer.close()


async def test_all_connections_together_are_bounded() -> None:
    hold = asyncio.Event()
    async with serving(ConnectionBounds(open=2), hold) as port:
        served = [await connected(port, REQUEST) for _ in range(2)]
        await ended(await connected(port))
        hold.set()
        for reader, writer in served:
            assert b"200 OK" in await reader.readuntil(b'"ok"')
            writer.close()
        await comes_true(lambda: all(writer.is_closing() for _, writer in served))
