"""Content digests of a layer, read back through a read-only export: what the guest would see, not the file."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from operator import and_, gt
from pathlib import Path
from typing import Final

from sendense_operator.chain.digests import DigestList, digest
from sendense_operator.chain.extents import LayerMap, chunk_length, marked
from sendense_operator.worker import export, qemu
from sendense_operator.worker.export import ModeChoice
from sendense_operator.worker.reasons import Reason, WorkerError

_READERS: Final = 4
"""Threads with a connection each: reading and hashing both release the interpreter's lock."""
_CLOSE_SECONDS: Final = 10.0
_UNREADABLE: Final = frozenset({errno.EIO, errno.EINVAL})
"""What a server answers a read with that it can't do; anything else is the end of the server, not the image's fault."""


class UnreadableChunk(WorkerError):  # noqa: N818 - says what was found
    """The image can't be read there."""

    def __init__(self, message: str, chunk: int) -> None:
        super().__init__(Reason.IMAGE_CORRUPT, message)
        self.chunk = chunk


def nothing(_: int) -> None:
    """Nobody watches the chunks."""


async def digest_layer(
    path: Path,
    layer: LayerMap,
    choice: ModeChoice,
    runtime: Path,
    tag: str,
    parent: DigestList | None = None,
    on_chunk: Callable[[int], None] = nothing,
) -> DigestList:
    """Digests of the restore point whose top layer is `path`; chunks without data are not read.

    `parent`: digests of the restore point that the layer stands on, of which only the layer's own chunks are replaced;
    the list is changed. `tag` names the server's files in `runtime`; `on_chunk` is told, in any thread, each chunk
    that was read. Raises WorkerError, UnreadableChunk for one that the server can't read.
    """
    if parent is None:
        digests, chunks = DigestList(layer.size, layer.chunk), layer.data_chunks
    else:
        digests, chunks = parent, bytearray(map(and_, layer.own_chunks, layer.data_chunks))
        for index in marked(bytearray(map(gt, layer.own_chunks, layer.data_chunks))):
            digests.put_zero(index)
    if not any(chunks):
        return digests
    where = runtime / f"{tag}.sock"
    where.unlink(missing_ok=True)
    server = await export.start(
        tag, ["-r", "-k", str(where)], lambda mode: qemu.read_options(path, mode), choice, runtime
    )
    try:
        await _read_all(where, _Work(marked(chunks), on_chunk), digests)
        await server.close(_CLOSE_SECONDS)
    finally:
        if not server.gone:
            await server.kill()
        where.unlink(missing_ok=True)
    return digests


async def _read_all(where: Path, work: _Work, digests: DigestList) -> None:
    try:
        await asyncio.gather(*(asyncio.to_thread(_read, where, digests, work) for _ in range(_READERS)))
    finally:
        work.stop()


class _Work:
    """Chunk numbers, shared by the readers."""

    def __init__(self, chunks: Iterator[int], on_chunk: Callable[[int], None]) -> None:
        self._chunks, self._lock, self._stopped = chunks, threading.Lock(), False
        self.on_chunk = on_chunk

    def stop(self) -> None:
        self._stopped = True

    def next(self) -> int | None:
        with self._lock:
            return None if self._stopped else next(self._chunks, None)


def _read(where: Path, digests: DigestList, work: _Work) -> None:
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    try:
        handle = nbd.NBD()
        handle.connect_unix(str(where))
        if handle.get_size() != digests.size:
            raise WorkerError(Reason.IMAGE_CORRUPT, f"the layer reads as {handle.get_size()} bytes")
        while (index := work.next()) is not None:
            length = chunk_length(index, digests.size, digests.chunk)
            try:
                data = handle.pread(length, index * digests.chunk)
            except nbd.Error as error:
                if error.errnum not in _UNREADABLE:
                    raise
                raise UnreadableChunk(f"reading the layer back: {error}", index) from error
            digests.put(index, digest(data))
            work.on_chunk(index)
        handle.shutdown()
    except nbd.Error as error:
        raise WorkerError(Reason.EXPORT_FAILED, f"reading the layer back: {error}") from error
    finally:
        # The others would only find the same: the chunks are used up, or something is wrong.
        work.stop()
