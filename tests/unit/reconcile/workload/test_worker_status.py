"""Reading a worker's status: whatever answers at its address costs few bytes and little time."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from sendense_operator.reconcile.workload import worker_status
from sendense_operator.reconcile.workload.worker_status import HttpWorkerReader
from sendense_operator.task import MAX_DISKS

DISK = {"index": 0, "size": 1, "transferred": 1}


def status(disks: int = 1) -> bytes:
    reported = {"jobId": "j", "stage": "Copying", "started": "2025-10-05T12:00:00Z", "disks": [DISK] * disks}
    return json.dumps(reported).encode()


class Body(httpx.AsyncByteStream):
    """Gives `chunk` for as long as it is read, every `pause` seconds."""

    def __init__(self, chunk: bytes, pause: float) -> None:
        self.chunk, self.pause, self.given = chunk, pause, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.given += len(self.chunk)
            yield self.chunk
            await asyncio.sleep(self.pause)


def reader(response: httpx.Response) -> HttpWorkerReader:
    return HttpWorkerReader(httpx.MockTransport(lambda _: response))


async def test_reads_a_status() -> None:
    found = await reader(httpx.Response(200, content=status())).progress("10.0.0.1")
    assert found is not None
    assert found.job_id == "j"


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    body = Body(b" " * 4096, 0.0)
    assert await reader(httpx.Response(200, stream=body)).progress("10.0.0.1") is None
    assert body.given <= 2 * 64 * 1024


async def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_status, "TIMEOUT_S", 0.1)
    async with asyncio.timeout(5):
        assert await reader(httpx.Response(200, stream=Body(b" ", 0.01))).progress("10.0.0.1") is None


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """Of 64 KiB that came over the wire, 64 MiB would be made."""
    packed = gzip.compress(status())
    response = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(packed))
    assert await reader(response).progress("10.0.0.1") is None


async def test_more_disks_than_a_vm_may_have_are_no_status() -> None:
    assert await reader(httpx.Response(200, content=status(MAX_DISKS))).progress("10.0.0.1") is not None
    assert await reader(httpx.Response(200, content=status(MAX_DISKS + 1))).progress("10.0.0.1") is None
