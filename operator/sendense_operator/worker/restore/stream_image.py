"""A disk as a stream-optimised VMDK, in a file of its own or inside an archive. It is written in one pass."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sendense_operator.chain.extents import marked
from sendense_operator.chain.vmdk import GRAIN, StreamBuilder, StreamTooLongError, pack_grains
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.content_digests import Content
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.restore.digested_disk import DigestedDisk
from sendense_operator.worker.restore.disk_image import Put
from sendense_operator.worker.restore.restore_wording import describe_target
from sendense_operator.worker.restore.served_image import compare_served, settle
from sendense_operator.worker.restore.target_errors import target_failures
from sendense_operator.worker.restore.target_folder import TargetFolder

_MOST_WRITE: Final = 4 << 20


class StreamPlace(Protocol):
    """Where the bytes of one image go."""

    @property
    def part(self) -> tuple[int, int] | None:
        """Offset and length in the file; None: the image is the whole file."""

    def open(self) -> None:
        """Begin the image: what is appended from now on is its content."""

    def append(self, data: bytes) -> None:
        """Write behind what was appended before. Raises OSError."""

    def close(self) -> None:
        """End the image. Raises OSError."""


class WholeFile:
    """An image that is a file of its own."""

    part = None

    def __init__(self, folder: TargetFolder) -> None:
        self._folder, self._end = folder, 0

    def open(self) -> None:
        """See StreamPlace."""
        self._end = 0

    def append(self, data: bytes) -> None:
        """See StreamPlace."""
        append_pieces(self._folder, self._end, data)
        self._end += len(data)

    def close(self) -> None:
        """See StreamPlace."""


def append_pieces(folder: TargetFolder, at: int, data: bytes) -> None:
    """Write `data` at a position of the file. Raises OSError."""
    for first in range(0, len(data), _MOST_WRITE):
        piece = data[first : first + _MOST_WRITE]
        folder.file.write(at + first, piece, blank=False)


class StreamImage:
    """The image of one disk."""

    rewrites = False

    def __init__(self, folder: TargetFolder, name: str, place: StreamPlace, choice: ModeChoice, runtime: Path) -> None:
        """`name`: file name of the image. `choice`: I/O modes of the claim's file system."""
        self._folder, self._name, self._place, self._choice, self._runtime = folder, name, place, choice, runtime

    @property
    def folder(self) -> TargetFolder:
        """See DiskImage."""
        return self._folder

    @asynccontextmanager
    async def writing(self, source: DigestedDisk, wanted: bytearray, *, blank: bool) -> AsyncIterator[Put]:
        """See DiskImage."""
        if not blank:
            raise RuntimeError("a stream is only written once")
        writer = _Writer(source, wanted, self._place, self._builder(source))
        await asyncio.to_thread(writer.begin)
        with writer.giving_up():
            yield writer.put
        await asyncio.to_thread(writer.end)

    async def differing(
        self, source: DigestedDisk, among: bytearray, on_total: Callable[[int], None], on_read: Callable[[int], None]
    ) -> bytearray:
        """See DiskImage. Raises WorkerError TargetNotEmpty, too, for a finished file that is no such image."""
        path, part = self._folder.current_path, self._place.part
        head = self._builder(source).begin()
        await settle(self._folder, source)
        with target_failures(source.disk, f"reading {path.name}"):
            found = self._folder.file.peek(part[0] if part else 0, len(head))
        if found != head:
            # QEMU would open whatever other files the head of a VMDK names.
            if self._folder.is_finished:
                raise self._folder.disown()
            text = f"{describe_target(source.disk)}: the beginning of {self._name} does not read as it was written"
            raise WorkerError(Reason.TARGET_FAULTY, text, source.disk.index)
        return await compare_served(
            source,
            lambda mode: qemu_tools.read_vmdk_options(path, mode, part),
            among,
            on_total,
            on_read,
            self._choice,
            self._runtime,
        )

    def _builder(self, source: DigestedDisk) -> StreamBuilder:
        # The content ID tells a parent's contents apart; a stream is nobody's parent. The first bit is left 0, because
        # all ones mean: no parent.
        content_id = int.from_bytes(source.recorded(0)[:4]) & 0x7FFFFFFF
        return StreamBuilder(source.disk.virtual_size, self._name, content_id)


class _GivenUpError(WorkerError):
    """Another thread has failed."""

    def __init__(self) -> None:
        super().__init__(Reason.TARGET_ERROR, "the image was given up")


class _Writer:
    """Packs chunks in the threads that bring them, and appends them in the order of the disk."""

    def __init__(self, source: DigestedDisk, wanted: bytearray, place: StreamPlace, builder: StreamBuilder) -> None:
        self._source, self._place, self._builder = source, place, builder
        self._order = marked(wanted)
        self._next = next(self._order, None)
        self._turn = threading.Condition()
        self._is_given_up = False

    def begin(self) -> None:
        """Write the head. Raises WorkerError."""
        with self._failures("writing the head of the image"):
            self._place.open()
            self._place.append(self._builder.begin())

    def put(self, index: int, data: Content) -> int:
        """Write a chunk, see Put. It waits until those before it are written, which other threads have."""
        start = index * self._source.chunks.chunk
        grains = list(pack_grains(start // GRAIN, data))
        with self._my_turn(index), self._failures(f"writing byte {start} of the disk"):
            self._place.append(self._builder.add(grains))
        return min(len(grains) * GRAIN, len(data))

    def end(self) -> None:
        """Write the tables. Raises WorkerError."""
        with self._failures("writing the tables of the image"):
            self._place.append(self._builder.end())
            self._place.close()

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Let no thread wait for its turn any more once the block fails."""
        try:
            yield
        except BaseException:
            with self._turn:
                self._is_given_up = True
                self._turn.notify_all()
            raise

    @contextmanager
    def _my_turn(self, index: int) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: self._is_given_up or self._next == index)
            if self._is_given_up:
                raise _GivenUpError
            yield
            self._next = next(self._order, None)
            self._turn.notify_all()

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            with target_failures(self._source.disk, what):
                yield
        except StreamTooLongError as error:
            text = f"{describe_target(self._source.disk)}: {error}: use another format"
            raise WorkerError(Reason.TARGET_TOO_SMALL, text, self._source.disk.index) from error
