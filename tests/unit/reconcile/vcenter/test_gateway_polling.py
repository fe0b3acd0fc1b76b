"""Reading what gateways saw: bounded, authenticated, from each address of the Service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.callbackkeys import FixedKeys

from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.gateway_status import create_status_app
from sendense_operator.gateway.serving import listen, serve
from sendense_operator.gateway.unrouted_recorder import UnroutedRecorder
from sendense_operator.reconcile.vcenter.gateway_polling import HttpGatewayReader
from sendense_operator.vma.sightings import MAX_ANSWER

KEYS = FixedKeys()


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[int]:
    """A server that answers so, and never closes by itself."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await asyncio.sleep(30)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_the_real_endpoint() -> None:
    sighted, stop, sock = UnroutedRecorder(), asyncio.Event(), listen(0)
    sighted.stray_telemetry("shop", "vma", "backup-1")
    port = sock.getsockname()[1]
    serving = asyncio.create_task(serve(create_status_app(sighted, KEYS), Drain(), 0, sock, stop))
    reader = HttpGatewayReader("127.0.0.1", port, KEYS)
    outsider = HttpGatewayReader("127.0.0.1", port, FixedKeys(b"x" * 32))
    try:
        (report,) = await reader.read()
        assert [job.job for job in report.jobs] == ["backup-1"]
        assert await outsider.read() == []
    finally:
        stop.set()
        await serving
        await reader.close()
        await outsider.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        HEAD + b"\r\n{",
        HEAD + b"Content-Length: 2\r\n\r\n[]",
        HEAD + b"\r\n" + b" " * (MAX_ANSWER + 2),
        HEAD + b"Content-Length: 14\r\n\r\n" + b'{"jobs": [{}]}',
    ],
    ids=["silent", "endless", "list", "huge", "odd"],
)
async def test_what_is_no_answer(raw: bytes) -> None:
    async with answering(raw) as port, asyncio.timeout(10):
        reader = HttpGatewayReader("127.0.0.1", port, KEYS)
        assert await reader.read() == []
        await reader.close()


async def test_without_a_host_or_with_one_that_is_not_there() -> None:
    for host in ("", "nobody.invalid"):
        reader = HttpGatewayReader(host, 1, KEYS)
        assert await reader.read() == []
        await reader.close()
