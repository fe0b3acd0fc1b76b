"""Content digests of a layer, read back through a read-only export, so that they cover what a guest would read."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import and_, gt
from pathlib import Path
from typing import Final, Protocol

from sendense_operator.chain.digests import Chunks, digest
from sendense_operator.chain.extents import LayerMap, chunk_length, marked, runs
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile

_READERS: Final = 4
"""Threads, each with its own connection: reading and hashing both release the interpreter's lock."""
_CLOSE_SECONDS: Final = 10.0
_UNREADABLE: Final = frozenset({errno.EIO, errno.EINVAL})
"""Errors with which the server answers if its storage fails, stale handles included. Any other error means that the
server has ended."""


TRY_FULL: Final = "If this error persists, make a backup of type Full, which reads no earlier restore point"


def ignore_chunk(_: int) -> None:
    """Do nothing: the default callback for chunks that were read."""


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
    wanted = await asyncio.to_thread(_prepare, layer, layers, digests)
    reading = Reading(path, layers, digests.chunks, wanted)
    await read_chunks(reading, digests.put, choice, runtime, tag)


def _prepare(layer: LayerMap, layers: int, digests: DigestFile) -> bytearray:
    """Write the digests of an increment's chunks that became zeroes, and return the chunks to read."""
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
    on_chunk: Callable[[int], None] = ignore_chunk,
    pace: Pace = UNPACED,
) -> None:
    """Read the wanted chunks back, and call `put` with the index and digest of each.

    `tag` names the server's files in `runtime`; `on_chunk` receives the index of each chunk that was read; `pace` is
    asked before each. All of them run in any thread and order. Raises WorkerError, with StorageError for a chunk that
    storage does not return, and what `put` raises.
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
        await _read_all(where, _Work(reading.chunks, marked(reading.wanted), put, on_chunk, pace))
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
    """Queue of chunk indexes, shared by the readers."""

    def __init__(
        self,
        chunks: Chunks,
        numbers: Iterator[int],
        put: Callable[[int, bytes], None],
        on_chunk: Callable[[int], None],
        pace: Pace,
    ) -> None:
        self._numbers, self._lock, self._stopped = numbers, threading.Lock(), False
        self.chunks, self.put, self.on_chunk, self.pace = chunks, put, on_chunk, pace

    @property
    def is_stopped(self) -> bool:
        return self._stopped

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
            raise WorkerError(
                Reason.IMAGE_CORRUPT, f"the layer has {handle.get_size()} bytes instead of {work.chunks.virtual_size}"
            )
        while (index := work.next()) is not None:
            length = chunk_length(index, work.chunks.virtual_size, work.chunks.chunk)
            work.pace.before(length)
            if work.is_stopped:
                break
            try:
                data = handle.pread(length, index * work.chunks.chunk)
            except nbd.Error as error:
                if error.errnum not in _UNREADABLE:
                    raise
                text = f"reading back byte {index * work.chunks.chunk} of the disk: {error}"
                raise WorkerError(Reason.STORAGE_ERROR, f"{text}. {TRY_FULL}") from error
            work.put(index, digest(data))
            work.pace.after(length)
            work.on_chunk(index)
        handle.shutdown()
    except nbd.Error as error:
        raise WorkerError(Reason.EXPORT_FAILED, f"reading the layer back: {error}") from error
    finally:
        # No chunk is left, or something is wrong: the other readers end, too.
        work.stop()
