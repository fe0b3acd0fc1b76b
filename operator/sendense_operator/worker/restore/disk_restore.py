"""Restore of one disk: compare what is there, write what differs, and prove the whole image by reading it back."""

from __future__ import annotations

import asyncio
import threading
from operator import and_
from pathlib import Path
from typing import Generic, TypeVar

from sendense_operator.answer import RestoredDisk
from sendense_operator.chain.export_files import DiskData
from sendense_operator.chain.extents import marked
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.damaged_ranges import bytes_of, ranges_of, restored_disk
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.disk_image import DiskImage
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.restore_wording import describe_target

log = get_logger(__name__)

Source = TypeVar("Source", bound=DigestedDisk)


class DiskRestore(Generic[Source]):
    """The work on one disk. All coroutines raise Unproven for damage that the task does not accept, and WorkerError."""

    def __init__(
        self, source: Source, state: RestoreState, choice: ModeChoice, runtime: Path, *, allow_damaged: bool
    ) -> None:
        self.source = source
        self.disk = source.disk
        self._state, self._choice, self._runtime = state, choice, runtime
        self._allow_damaged = allow_damaged
        self._written = 0
        self._lock = threading.Lock()

    @property
    def needed(self) -> DiskData:
        """How much has to be written at most."""
        content = self.source.content
        return DiskData(self.disk.virtual_size, bytes_of(content, self.source.chunks), content.count(1))

    def accept_lost(self) -> None:
        """Count chunks that no layer has any more as damaged."""
        lost = self.source.lost
        if lost.find(1) >= 0:
            self._found_damaged(*marked(lost))

    async def verify(self) -> None:
        """Read all data of the restore point, and compare it with the digests."""
        wanted = self.source.stored
        self._state.read_back(self.disk, bytes_of(wanted, self.source.chunks), "reading")

        def receive(index: int, data: Content) -> None:
            if not self.source.is_as_written(index, data):
                self._found_damaged(index)
            self._state.add(len(data))

        await self.source.read(wanted, receive, self._choice, self._runtime)
        self.accept_lost()
        self._state.complete(self.disk)

    async def prove_finished(self, image: DiskImage) -> None:
        """Prove an image that an earlier attempt finished. Nothing is written. Raises WorkerError TargetNotEmpty, too.

        A chunk that differs can only be right if it is zeroes because the restore point is damaged there.
        """
        everything = bytearray(b"\1") * self.source.chunks.count
        differing = await self._compare(image, everything)
        suspected = bytearray(map(and_, differing, self.source.content))
        if suspected.find(1) >= 0 and self._allow_damaged:
            await self.source.read(suspected, self._find_damage, self._choice, self._runtime)
            differing = await self._compare(image, differing)
        if differing.find(1) >= 0:
            raise image.folder.disown()
        self._state.complete(self.disk)

    async def restore(self, image: DiskImage, *, is_new: bool) -> None:
        """Bring the unfinished image to the content of the restore point; `is_new`: whether it is all zeroes."""
        differing = self.source.content
        if not is_new:
            differing = await self._compare(image, bytearray(b"\1") * len(differing), "comparing")
        await self._write(image, differing, blank=is_new)

    async def read_back(self, image: DiskImage) -> None:
        """Prove the unfinished image. What differs is written once more. Raises WorkerError TargetFaulty."""
        differing = await self._compare(image, bytearray(b"\1") * self.source.chunks.count)
        if differing.find(1) >= 0 and image.rewrites:
            log.warning(
                "the image does not read as it was written: writing again",
                disk=self.disk.index,
                offset=differing.find(1) * self.source.chunks.chunk,
                chunks=differing.count(1),
            )
            await self._write(image, differing, blank=False)
            differing = await self._compare(image, differing)
        if differing.find(1) >= 0:
            at = differing.find(1) * self.source.chunks.chunk
            text = f"{describe_target(self.disk)}: the image at byte {at} does not read as it was written"
            raise WorkerError(Reason.TARGET_FAULTY, f"{text}: check the storage of the claim", self.disk.index)
        self._state.complete(self.disk)

    def result(self) -> tuple[RestoredDisk, int]:
        """Return the result of the disk, and the number of its damaged ranges."""
        source = self.source
        ranges = ranges_of(source.damaged, source.chunks)
        for item in ranges:
            log.warning("damaged range", disk=self.disk.index, offset=item.offset, length=item.length)
        return restored_disk(self.disk.index, self.needed.data_bytes, self._written, ranges), len(ranges)

    async def _compare(self, image: DiskImage, among: bytearray, what: str = "reading back") -> bytearray:
        def on_total(total: int) -> None:
            self._state.read_back(self.disk, total, what)

        return await image.differing(self.source, among, on_total, self._state.add)

    async def _write(self, image: DiskImage, differing: bytearray, *, blank: bool) -> None:
        """Write the marked chunks. `blank`: whether there is nothing but zeroes in their place."""
        source = self.source
        wanted = bytearray(map(and_, differing, source.content))
        self._state.restore(self.disk, bytes_of(differing, source.chunks))
        # What no layer has is damaged already, and zeroes like everything else that is not read.
        unread = bytearray(map(and_, differing, source.expected_zeroes()))
        for index in marked(unread):
            self._state.add(source.length(index))
            wanted[index] = 0
        async with image.writing(source, wanted, blank=blank) as put_chunk:

            def put(index: int, data: Content) -> None:
                count = put_chunk(index, data)
                with self._lock:
                    self._written += count

            def receive(index: int, data: Content) -> None:
                if not source.is_as_written(index, data):
                    self._found_damaged(index)
                    data = bytes(len(data))
                put(index, data)
                self._state.add(len(data))

            if not blank:
                for index in marked(unread):
                    await asyncio.to_thread(put, index, bytes(source.length(index)))
            await source.read(wanted, receive, self._choice, self._runtime)

    def _find_damage(self, index: int, data: Content) -> None:
        if not self.source.is_as_written(index, data):
            self._found_damaged(index)

    def _found_damaged(self, *chunks: int) -> None:
        """Record damage. Raises Unproven unless the task accepts it."""
        for index in chunks:
            self.source.damaged[index] = 1
        if not self._allow_damaged:
            raise self.source.unproven(chunks)
