"""A disk as a QCOW2 file without a backing file. It is written and read through QEMU."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from sendense_operator.chain.export_files import QCOW2_CLUSTER
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.images.nbd_client import Connection
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.disk_image import Put
from sendense_operator.worker.restore.served_image import compare_served, settle
from sendense_operator.worker.restore.target_errors import image_failures, target_failures
from sendense_operator.worker.restore.target_file import filled
from sendense_operator.worker.restore.target_folder import TargetFolder

_CLOSE_SECONDS: Final = 600.0
"""Time limit for closing the image: what is in the page cache may have to be written back before."""
_MOST_WRITE: Final = 1 << 20
"""Largest write in bytes, so that four threads hold few copies."""
_OPTIONS: Final = f"compat=1.1,cluster_size={QCOW2_CLUSTER}"


class Qcow2Image:
    """The image of one disk."""

    rewrites = True

    def __init__(self, folder: TargetFolder, choice: ModeChoice, runtime: Path) -> None:
        """`choice`: I/O modes of the claim's file system. `runtime`: folder for the server's files."""
        self._folder, self._choice, self._runtime = folder, choice, runtime

    @property
    def folder(self) -> TargetFolder:
        """See DiskImage."""
        return self._folder

    @asynccontextmanager
    async def writing(self, source: DigestedDisk, wanted: bytearray, *, blank: bool) -> AsyncIterator[Put]:
        """See DiskImage."""
        path, disk = self._folder.current_path, source.disk
        async with AsyncExitStack() as server:
            with image_failures(disk):
                if blank:
                    await self._format(path, source)
                tag = f"target-{disk.index}"
                export = nbd_export.served(
                    tag,
                    [],
                    lambda mode: qemu_tools.write_options(path, mode, 1),
                    self._choice,
                    self._runtime,
                    _CLOSE_SECONDS,
                )
                writer = _Writer(await server.enter_async_context(export), source, blank=blank)
            yield writer.put
            with image_failures(disk):
                await asyncio.to_thread(writer.flush)
                await server.aclose()

    async def differing(
        self, source: DigestedDisk, among: bytearray, on_total: Callable[[int], None], on_read: Callable[[int], None]
    ) -> bytearray:
        """See DiskImage. Raises WorkerError TargetNotEmpty, too, for a finished file that is no such image."""
        path = self._folder.current_path
        await settle(self._folder, source)
        try:
            # First of all: whatever names other files is not opened.
            qemu_tools.read_header(path, source.disk.virtual_size)
        except WorkerError as error:
            if self._folder.is_finished and error.reason == Reason.IMAGE_CORRUPT:
                raise self._folder.disown() from error
            with image_failures(source.disk):
                raise
        with image_failures(source.disk):
            await qemu_tools.check(path)
        return await compare_served(
            source,
            lambda mode: qemu_tools.read_options(path, mode, 1),
            among,
            on_total,
            on_read,
            self._choice,
            self._runtime,
        )

    async def _format(self, path: Path, source: DigestedDisk) -> None:
        """Make the empty image in the file that is open. Raises WorkerError."""
        await qemu_tools.format_file(path, source.disk.virtual_size, _OPTIONS)
        with target_failures(source.disk, f"creating {path.name}"):
            if not self._folder.file.is_at(path):
                raise self._folder.place.refuse(source.disk, [path.name], ", which was replaced meanwhile")


class _Writer:
    """The connections of the threads that write."""

    def __init__(self, socket: Path, source: DigestedDisk, *, blank: bool) -> None:
        self._socket, self._source, self._blank = socket, source, blank
        self._local = threading.local()

    def put(self, index: int, data: Content) -> int:
        """Write a chunk, see Put."""
        start, view = index * self._source.chunks.chunk, memoryview(data)
        with image_failures(self._source.disk):
            connection = self._connection()
            written = 0
            if not self._blank:
                connection.zero(start, len(view), hole=True)
            for first, end in filled(view):
                for at in range(first, end, _MOST_WRITE):
                    connection.write(view[at : min(end, at + _MOST_WRITE)], start + at)
                written += end - first
            return written

    def flush(self) -> None:
        """Let the server hand all writes to the file. Raises WorkerError."""
        connection = self._connection()
        connection.flush()
        connection.close()

    def _connection(self) -> Connection:
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = Connection(self._socket, self._source.chunks.virtual_size, "writing the image")
            self._local.connection = found
        return found
