"""Content digests of a layer, read back through a read-only export, so that they cover what a guest would read."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from operator import and_, gt
from pathlib import Path
from typing import Final, Protocol

from sendense_operator.chain.digests import Chunks, digest
from sendense_operator.chain.extents import LayerMap, chunk_length, marked, runs
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.chunk_queue import ChunkQueue
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.qemu_tools import IoMode
from sendense_operator.worker.storage.digest_file import DigestFile

_CLOSE_SECONDS: Final = 10.0
_UNREADABLE: Final = frozenset({errno.EIO, errno.EINVAL})
"""Errors with which the server answers if its storage fails, stale handles included. Any other error means that the
server has ended."""


TRY_FULL: Final = "If this error persists, make a backup of type Full, which reads no earlier restore point"


def ignore_chunk(_: int) -> None:
    """Do nothing: the default callback for chunks that were read."""


Content = bytes | bytearray | memoryview
"""Content of a chunk."""


def digesting(put: Callable[[int, bytes], None]) -> Callable[[int, Content], None]:
    """Return a receiver for `read_chunks` that calls `put` with the index and digest of each chunk."""

    def receive(index: int, data: Content) -> None:
        put(index, digest(data))

    return receive


class Pace(Protocol):
    """The pace at which chunks are read; readers call it at the same time, each from a thread of its own."""

    def before(self, length: int) -> None:
        """Wait until a chunk of `length` bytes may be read. It must return soon once the reading is given up."""

    def after(self, length: int) -> None:
        """Record that a chunk of `length` bytes was read."""


class _Unpaced:
    def before(self, length: int) -> None:
        pass

    def after(self, length: int) -> None:
        pass


UNPACED: Final[Pace] = _Unpaced()
"""No limit."""


@dataclass(frozen=True)
class Reading:
    """What to read back: chunks of the restore point whose top layer is `path`."""

    path: Path
    layers: int
    """Number of layers that are read through `path`, itself included."""
    chunks: Chunks
    wanted: bytearray
    """One byte per chunk: 1 if it is to be read."""


async def write_digests(
    path: Path, layers: int, layer: LayerMap, digests: DigestFile, choice: ModeChoice, runtime: Path, tag: str
) -> None:
    """Write the digests of a restore point whose top layer is `path` into `digests`; chunks without data are not read.

    `digests` must hold those of the parent's restore point, of which the layer's own chunks are replaced; for a full,
    those of zeroes. Other parameters and errors as for `read_chunks`; raises OSError, too.
    """
    wanted = await asyncio.to_thread(prepare_digests, layer, layers, digests)
    reading = Reading(path, layers, digests.chunks, wanted)
    await read_chunks(reading, digesting(digests.put), choice, runtime, tag)


def prepare_digests(layer: LayerMap, layers: int, digests: DigestFile) -> bytearray:
    """Write the digests of an increment's chunks that became zeroes, and return the chunks to read."""
    if layers == 1:
        return layer.data_chunks
    for first, count in runs(bytearray(map(gt, layer.own_chunks, layer.data_chunks))):
        digests.put_zeroes(first, count)
    return bytearray(map(and_, layer.own_chunks, layer.data_chunks))


async def read_chunks(
    reading: Reading,
    receive: Callable[[int, Content], None],
    choice: ModeChoice,
    runtime: Path,
    tag: str,
    on_chunk: Callable[[int], None] = ignore_chunk,
    pace: Pace = UNPACED,
) -> None:
    """Read the wanted chunks back, and call `receive` with the index and content of each.

    `tag` names the server's files in `runtime`; `on_chunk` receives the index of each chunk that was read; `pace` is
    asked before each. All of them run in any thread and order, each thread with a connection of its own. Raises
    WorkerError, with StorageError for a chunk that storage does not return, and what `receive` raises.
    """
    if reading.wanted.find(1) < 0:
        return
    queue = ChunkQueue(marked(reading.wanted))

    def options(mode: IoMode) -> str:
        return qemu_tools.read_options(reading.path, mode, reading.layers)

    async with nbd_export.served(tag, ["-r"], options, choice, runtime, _CLOSE_SECONDS) as where:
        await queue.run(lambda: _read(where, queue, reading.chunks, receive, on_chunk, pace))


def _read(
    where: Path,
    queue: ChunkQueue,
    chunks: Chunks,
    receive: Callable[[int, Content], None],
    on_chunk: Callable[[int], None],
    pace: Pace,
) -> None:
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    try:
        handle = nbd.NBD()
        handle.connect_unix(str(where))
        if handle.get_size() != chunks.virtual_size:
            raise WorkerError(
                Reason.IMAGE_CORRUPT, f"the layer has {handle.get_size()} bytes instead of {chunks.virtual_size}"
            )
        while (index := queue.next()) is not None:
            length = chunk_length(index, chunks.virtual_size, chunks.chunk)
            pace.before(length)
            if queue.is_stopped:
                break
            try:
                data = handle.pread(length, index * chunks.chunk)
            except nbd.Error as error:
                if error.errnum not in _UNREADABLE:
                    raise
                text = f"reading back byte {index * chunks.chunk} of the disk: {error}"
                raise WorkerError(Reason.STORAGE_ERROR, f"{text}. {TRY_FULL}") from error
            receive(index, data)
            pace.after(length)
            on_chunk(index)
        handle.shutdown()
    except nbd.Error as error:
        raise WorkerError(Reason.EXPORT_FAILED, f"reading the layer back: {error}") from error
