"""The image of one disk in a target: it takes chunks, and can be compared with what the restored disk must be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.target_comparison import differing_chunks
from sendense_operator.worker.restore.target_errors import target_failures
from sendense_operator.worker.restore.target_folder import TargetFolder

Put = Callable[[int, Content], int]
"""Writes the chunk with this index, and returns how many bytes were not left out. Raises WorkerError."""


class DiskImage(Protocol):
    """What all formats have in common. Errors are WorkerErrors of the target."""

    @property
    def folder(self) -> TargetFolder:
        """Where the image's file lies; several images may share it."""

    @property
    def rewrites(self) -> bool:
        """Whether a chunk can be written again."""

    def writing(self, source: DigestedDisk, wanted: bytearray, *, blank: bool) -> AbstractAsyncContextManager[Put]:
        """Open the image until the block ends. Any thread may put the `wanted` chunks, each exactly once, in any order.

        `wanted`: one byte per chunk. `blank`: whether there is nothing but zeroes in their place.
        """

    async def differing(
        self, source: DigestedDisk, among: bytearray, on_total: Callable[[int], None], on_read: Callable[[int], None]
    ) -> bytearray:
        """Return which of the chunks `among` differ from what they must be, as the storage returns them.

        `on_total` receives the bytes to read, and `on_read` those of each chunk that was read, in any thread.
        """


class RawImage:
    """An image with the disk's own bytes."""

    rewrites = True

    def __init__(self, folder: TargetFolder) -> None:
        self._folder = folder

    @property
    def folder(self) -> TargetFolder:
        """See DiskImage."""
        return self._folder

    @asynccontextmanager
    async def writing(self, source: DigestedDisk, wanted: bytearray, *, blank: bool) -> AsyncIterator[Put]:
        """See DiskImage."""
        file = self._folder.file

        def put(index: int, data: Content) -> int:
            start = index * source.chunks.chunk
            with target_failures(source.disk, f"writing byte {start} of the image"):
                return file.write(start, data, blank=blank)

        yield put

    async def differing(
        self, source: DigestedDisk, among: bytearray, on_total: Callable[[int], None], on_read: Callable[[int], None]
    ) -> bytearray:
        """See DiskImage."""
        return await differing_chunks(self._folder.file, source, among, on_total, on_read)
