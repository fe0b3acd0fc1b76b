"""Content digests of a layer, read back through a read-only export: what the guest would see, not the file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
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


async def digest_layer(path: Path, layer: LayerMap, choice: ModeChoice, runtime: Path, tag: str) -> DigestList:
    """Digests of the restore point whose top layer is `path`; chunks without data are not read.

    `tag` names the server's files in `runtime`. Raises WorkerError.
    """
    digests = DigestList(layer.size, layer.chunk)
    if not any(layer.data_chunks):
        return digests
    where = runtime / f"{tag}.sock"
    where.unlink(missing_ok=True)
    server = await export.start(
        tag, ["-r", "-k", str(where)], lambda mode: qemu.read_options(path, mode), choice, runtime
    )
    try:
        await _read_all(where, layer, digests)
        await server.close(_CLOSE_SECONDS)
    finally:
        if not server.gone:
            await server.kill()
        where.unlink(missing_ok=True)
    return digests


async def _read_all(where: Path, layer: LayerMap, digests: DigestList) -> None:
    work = _Work(marked(layer.data_chunks))
    try:
        await asyncio.gather(*(asyncio.to_thread(_read, where, layer, digests, work) for _ in range(_READERS)))
    finally:
        work.stop()


class _Work:
    """Chunk numbers, shared by the readers."""

    def __init__(self, chunks: Iterator[int]) -> None:
        self._chunks, self._lock, self._stopped = chunks, threading.Lock(), False

    def stop(self) -> None:
        self._stopped = True

    def next(self) -> int | None:
        with self._lock:
            return None if self._stopped else next(self._chunks, None)


def _read(where: Path, layer: LayerMap, digests: DigestList, work: _Work) -> None:
    import nbd  # noqa: PLC0415 - Debian's package, not on PyPI: only where qemu is too

    try:
        handle = nbd.NBD()
        handle.connect_unix(str(where))
        if handle.get_size() != layer.size:
            raise WorkerError(Reason.IMAGE_CORRUPT, f"the layer reads as {handle.get_size()} bytes")
        while (index := work.next()) is not None:
            length = chunk_length(index, layer.size, layer.chunk)
            digests.put(index, digest(handle.pread(length, index * layer.chunk)))
        handle.shutdown()
    except nbd.Error as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"reading the layer back: {error}") from error
    finally:
        # The others would only find the same: the chunks are used up, or something is wrong.
        work.stop()
