"""Content digests of a layer, read back through a read-only export: what the guest would see, not the file."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import and_, gt
from pathlib import Path
from typing import Final

from sendense_operator.chain.digests import Chunks, digest
from sendense_operator.chain.extents import LayerMap, chunk_length, marked, runs
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile

_READERS: Final = 4
"""Threads with a connection each: reading and hashing both release the interpreter's lock."""
_CLOSE_SECONDS: Final = 10.0
_UNREADABLE: Final = frozenset({errno.EIO, errno.EINVAL})
"""What a server answers for whatever its storage refused, stale handles included. All else is the server's end."""


TRY_FULL: Final = "If that stays so, make a backup of type Full: it reads no earlier restore point"


def nothing(_: int) -> None:
    """Nobody watches the chunks."""


@dataclass(frozen=True)
class Reading:
    """What is read back: the restore point whose top layer is `path`."""

    path: Path
    layers: int
    """How many are read through it, itself counted."""
    chunks: Chunks
    wanted: bytearray
    """One byte per chunk: 1 where it is to be read."""


async def write_digests(
    path: Path, layers: int, layer: LayerMap, digests: DigestFile, choice: ModeChoice, runtime: Path, tag: str
) -> None:
    """Put the digests of a restore point whose top layer is `path` into `digests`; chunks without data are not read.

    `digests` already holds those of the restore point below, of which only the layer's own chunks are replaced, or
    zeroes only for a full. The rest as for `read_chunks`. Raises OSError, too.
    """
    wanted = await asyncio.to_thread(_prepare, layer, layers, digests)
    reading = Reading(path, layers, digests.chunks, wanted)
    await read_chunks(reading, digests.put, choice, runtime, tag)


def _prepare(layer: LayerMap, layers: int, digests: DigestFile) -> bytearray:
    """Return the chunks to read, after putting the digests of an increment's chunks that became zeroes."""
    if layers == 1:
        return layer.data_chunks
    for first, count in runs(bytearray(map(gt, layer.own_chunks, layer.data_chunks))):
        digests.put_zeroes(first, count)
    return bytearray(map(and_, layer.own_chunks, layer.data_chunks))


async def read_chunks(
    reading: Reading,
    put: Callable[[int, bytes], None],
    choice: ModeChoice,
    runtime: Path,
    tag: str,
    on_chunk: Callable[[int], None] = nothing,
) -> None:
    """Read the wanted chunks back and `put` the number and the digest of each, in any thread and order.

    `tag` names the server's files in `runtime`; `on_chunk` receives, in any thread, the number of each chunk that was
    read. Raises WorkerError, StorageError for a chunk that storage does not return, and what `put` raises.
    """
    if reading.wanted.find(1) < 0:
        return
    where = runtime / f"{tag}.sock"
    where.unlink(missing_ok=True)
    server = await nbd_export.start(
        tag,
        ["-r", "-k", str(where)],
        lambda mode: qemu_tools.read_options(reading.path, mode, reading.layers),
        choice,
        runtime,
    )
    try:
        await _read_all(where, _Work(reading.chunks, marked(reading.wanted), put, on_chunk))
        await server.close(_CLOSE_SECONDS)
    finally:
        if not server.gone:
            await server.kill()
        where.unlink(missing_ok=True)


async def _read_all(where: Path, work: _Work) -> None:
    try:
        await asyncio.gather(*(asyncio.to_thread(_read, where, work) for _ in range(_READERS)))
    finally:
        work.stop()


class _Work:
    """Chunk numbers, shared by the readers."""

    def __init__(
        self,
        chunks: Chunks,
        numbers: Iterator[int],
        put: Callable[[int, bytes], None],
        on_chunk: Callable[[int], None],
    ) -> None:
        self._numbers, self._lock, self._stopped = numbers, threading.Lock(), False
        self.chunks, self.put, self.on_chunk = chunks, put, on_chunk

    def stop(self) -> None:
        self._stopped = True

    def next(self) -> int | None:
        with self._lock:
            return None if self._stopped else next(self._numbers, None)


def _read(where: Path, work: _Work) -> None:
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    try:
        handle = nbd.NBD()
        handle.connect_unix(str(where))
        if handle.get_size() != work.chunks.virtual_size:
            raise WorkerError(Reason.IMAGE_CORRUPT, f"the layer reads as {handle.get_size()} bytes")
        while (index := work.next()) is not None:
            length = chunk_length(index, work.chunks.virtual_size, work.chunks.chunk)
            try:
                data = handle.pread(length, index * work.chunks.chunk)
            except nbd.Error as error:
                if error.errnum not in _UNREADABLE:
                    raise
                text = f"reading the layer back at byte {index * work.chunks.chunk}: {error}"
                raise WorkerError(Reason.STORAGE_ERROR, f"{text}. {TRY_FULL}") from error
            work.put(index, digest(data))
            work.on_chunk(index)
        handle.shutdown()
    except nbd.Error as error:
        raise WorkerError(Reason.EXPORT_FAILED, f"reading the layer back: {error}") from error
    finally:
        # The others would only find the same: the chunks are used up, or something is wrong.
        work.stop()
