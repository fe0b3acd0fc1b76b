"""Threads that bring the chunks of a stream in any order, and give up together."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.worker.restore.claim_folder import CHUNK, DISK

from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.vmdk import GRAIN, StreamBuilder, pack_grains
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.restore.stream_image import StreamImage

COUNT = 5
SIZE = COUNT * CHUNK
CONTENT = [bytes([index + 1]) * GRAIN + bytes(CHUNK - GRAIN) for index in range(COUNT)]


class Place:
    """A place in memory."""

    part = None

    def __init__(self, error: OSError | None = None) -> None:
        self.data, self.error, self.is_closed = bytearray(), error, False

    def open(self) -> None:
        self.data.clear()

    def append(self, data: bytes) -> None:
        if self.error is not None and self.data:
            raise self.error
        self.data += data

    def close(self) -> None:
        self.is_closed = True


def opened(place: Place, wanted: bytes = b"\1" * COUNT) -> Any:
    disk = DISK.model_copy(update={"virtual_size": SIZE})
    source: Any = SimpleNamespace(disk=disk, chunks=Chunks(SIZE, CHUNK), recorded=lambda _: b"\xff" * 32)
    folder: Any = None
    image = StreamImage(folder, "a.vmdk", place, folder, folder)
    return image.writing(source, bytearray(wanted), blank=True)


def expected(*indexes: int) -> bytes:
    builder = StreamBuilder(SIZE, "a.vmdk", 0x7FFFFFFF)
    data = builder.begin()
    for index in indexes:
        data += builder.add(list(pack_grains(index * CHUNK // GRAIN, CONTENT[index])))
    return data + builder.end()


async def test_chunks_are_appended_in_their_order() -> None:
    place = Place()
    async with opened(place, b"\1\0\1\1\1") as put:
        tasks = []
        for index in (4, 2, 3, 0):
            tasks.append(asyncio.create_task(asyncio.to_thread(put, index, CONTENT[index])))
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [GRAIN] * 4
    assert place.data == expected(0, 2, 3, 4)
    assert place.is_closed


@pytest.mark.timeout(30)
async def test_whoever_waits_for_its_turn_gives_up_with_the_others() -> None:
    place, waiting = Place(), threading.Event()
    failures = list[WorkerError]()

    def wait(put: Any) -> None:
        waiting.set()
        try:
            put(1, CONTENT[1])
        except WorkerError as error:
            failures.append(error)

    async def fail() -> None:
        async with opened(place) as put:
            thread = threading.Thread(target=wait, args=[put], daemon=True)
            threads.append(thread)
            thread.start()
            await asyncio.to_thread(waiting.wait)
            raise RuntimeError("the first chunk never comes")

    threads = list[threading.Thread]()
    with pytest.raises(RuntimeError):
        await fail()
    await asyncio.to_thread(threads[0].join, 20)
    assert [error.reason for error in failures] == [Reason.TARGET_ERROR]
    assert not place.is_closed


async def test_a_full_file_system() -> None:
    place = Place(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(WorkerError) as caught:
        async with opened(place) as put:
            await asyncio.to_thread(put, 0, CONTENT[0])
    assert (caught.value.reason, caught.value.disk_index) == (Reason.TARGET_FULL, DISK.index)
    assert f"disk {DISK.index}, claim data: writing byte 0 of the disk: " in caught.value.message


async def test_more_than_the_format_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendense_operator.chain.vmdk.MOST_BYTES", 2 * GRAIN)
    with pytest.raises(WorkerError) as caught:
        async with opened(Place()) as put:
            await asyncio.to_thread(put, 0, os.urandom(CHUNK))
    assert caught.value.reason == Reason.TARGET_TOO_SMALL
    assert caught.value.message.endswith("use another format")
