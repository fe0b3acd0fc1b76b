"""A disk of a restore point that another pod serves, which has the repository: its content, and its digest list.

The sender has compared the list with the manifest, and both sides prove by the key of this run who they are. So the
list is as good as one that was read from the repository; no byte is written that does not have its digest.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator.chain.digests import DIGEST_SIZE, Chunks
from sendense_operator.chain.extents import chunk_length, marked
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.restore_task import (
    TLS_USER,
    RestoreDisk,
    RestoreTask,
    digests_export_name,
    digests_port,
    restored_export_name,
)
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images import nbd_tls
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.digested_disk import DigestedDisk, zero_chunks
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.digest_file import PAGE, DigestFile

_SECTOR: Final = 512
"""What the length of an export is a multiple of."""


@dataclass
class RemoteDisk(DigestedDisk):
    """What is read of one disk, from the sender."""

    settings: Settings
    sender: str

    @property
    def name(self) -> str:
        """Return what is read, for messages."""
        return f"disk {self.disk.index} of sender {self.sender}"

    @property
    def lost(self) -> bytearray:
        """Nothing is known to be lost: what no layer has reads as zeroes, which do not have the digest."""
        return bytearray(self.chunks.count)

    @property
    def stored(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written."""
        return self.content

    async def read(
        self, wanted: bytearray, receive: Callable[[int, Content], None], choice: ModeChoice, runtime: Path
    ) -> None:
        """Read the wanted chunks, as in `DigestedDisk`. Raises WorkerError SenderLost if the sender ends."""
        if wanted.find(1) < 0:
            return
        queue = ChunkQueue(marked(wanted))
        await queue.run(lambda: self._read(queue, receive))

    def _read(self, queue: ChunkQueue, receive: Callable[[int, Content], None]) -> None:
        index, port = self.disk.index, self.settings.nbd_base_port + self.disk.index
        with _sender_failures(self.name):
            handle = nbd_tls.connect(self.settings.tls_dir, TLS_USER, self.sender, port, restored_export_name(index))
            size = handle.get_size()
        if size != self.chunks.virtual_size:
            text = f"{self.name} has {size} bytes instead of {self.chunks.virtual_size}"
            raise WorkerError(Reason.DISKS_CHANGED, text, index)
        while (chunk := queue.next()) is not None:
            start = chunk * self.chunks.chunk
            with _sender_failures(f"{self.name}, byte {start}"):
                data = handle.pread(chunk_length(chunk, self.chunks.virtual_size, self.chunks.chunk), start)
            receive(chunk, data)
        with _sender_failures(self.name):
            handle.shutdown()


@contextmanager
def _sender_failures(what: str) -> Iterator[None]:
    """Turn failures of a connection to the sender into WorkerErrors."""
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    try:
        yield
    except nbd.Error as error:
        if error.errnum == errno.EIO:
            raise WorkerError(Reason.STORAGE_ERROR, f"{what}: the sender can't read it: {error}") from error
        raise WorkerError(Reason.SENDER_LOST, f"{what}: {error}") from error
    except OSError as error:
        raise WorkerError(Reason.SENDER_LOST, f"{what}: {error.strerror or error}") from error


async def open_remote(settings: Settings, task: RestoreTask, disk: RestoreDisk, folder: Path) -> RemoteDisk:
    """Fetch the digest list of a disk into `folder`, and open it. Raises WorkerError."""
    chunks = Chunks(disk.virtual_size, CHUNK)
    path = folder / digests_export_name(disk.index)
    await asyncio.to_thread(_fetch, settings, task.sender, disk, chunks, path)
    try:
        written = await asyncio.to_thread(DigestFile.open, path, chunks)
        try:
            zero = await asyncio.to_thread(zero_chunks, written)
        except BaseException:
            written.close()
            raise
    except OSError as error:
        raise storage_error(error, f"reading the digests of disk {disk.index}") from error
    return RemoteDisk(disk, written, zero, settings, task.sender)


def _fetch(settings: Settings, sender: str, disk: RestoreDisk, chunks: Chunks, path: Path) -> None:
    """Write the digest list of a disk to `path`. Its length is known before its first byte is read."""
    port, what = digests_port(settings.nbd_base_port, disk.index), f"digest list of disk {disk.index}"
    with _sender_failures(what):
        handle = nbd_tls.connect(settings.tls_dir, TLS_USER, sender, port, digests_export_name(disk.index))
        size = handle.get_size()
    if size != -(-chunks.list_bytes // _SECTOR) * _SECTOR:
        text = f"{what}: the sender has {size} bytes, and {chunks.list_bytes} are needed for the disk"
        raise WorkerError(Reason.DISKS_CHANGED, text, disk.index)
    try:
        with path.open("xb") as file:
            for first in range(0, chunks.list_bytes, PAGE * DIGEST_SIZE):
                with _sender_failures(what):
                    data = handle.pread(min(PAGE * DIGEST_SIZE, chunks.list_bytes - first), first)
                file.write(data)
    except OSError as error:
        raise storage_error(error, f"writing the digests of disk {disk.index}") from error
    with _sender_failures(what):
        handle.shutdown()
