"""Is a restore point's disk still what was written? Its layers' structure, its digests, its content.

Only what the files themselves show speaks against a restore point: storage that hangs or a server that can't be
started is trouble of this attempt, and raises WorkerError.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sendense_operator.chain import layout
from sendense_operator.chain.digests import DIGEST_SIZE, Chunks
from sendense_operator.chain.extents import LayerMap, marked
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import MOST_CHUNKS
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError, reading_error, storage_error
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.content_digests import Reading, nothing, read_chunks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile

log = get_logger(__name__)

_T = TypeVar("_T")


class Unproven(Exception):  # noqa: N818 - says what was found
    """The restore point can't be read as it was written; the text says what was found."""

    def __init__(self, message: str, *, layer: str = "", chunks: tuple[int, ...] = ()) -> None:
        """`layer`: path of the one that is at fault, if one is; `chunks`: those that do not read as they were written.

        Neither: something of the restore point alone.
        """
        super().__init__(message)
        self.layer, self.chunks = layer, chunks


async def prove(
    root: Path, parent: ParentLayer, content: bool, choice: ModeChoice, runtime: Path, report: Callable[[str], None]
) -> None:
    """Check a disk of a restore point with all layers that it depends on, cheap proofs first.

    With `content` all its data is read and compared with its digests. `report` gets what is being done. Raises
    Unproven, or WorkerError for what is not the restore point's fault.
    """
    disk = parent.disk
    what = f"the parent of the disk with key {disk.key}, restore point {parent.manifest.backup.name}"
    report(f"checking {what}")
    began = time.monotonic()
    layer = await _check_structure(root, parent.stack)
    with _blaming():
        written = await asyncio.to_thread(open_list, root, disk)
    with written:
        with _blaming():
            check_digest_root(disk, await _reading(disk, written.root))
        if content:
            meter = _Meter(layer.data_chunks.count(1), lambda percent: report(f"checking {what}: {percent}% read"))
            reading = Reading(root / disk.file, len(parent.stack), written.chunks, layer.data_chunks)
            comparison = Comparison(written)
            await _compare(disk, comparison, reading, choice, runtime, meter.add)
            with _blaming():
                await _reading(disk, partial(comparison.zeroes, layer.data_chunks))
            comparison.judge(disk)
    read = layer.data_chunks.count(1) * layer.chunk if content else 0
    log.info(
        "checked", object=what, layers=len(parent.stack), read_bytes=read, seconds=round(time.monotonic() - began, 1)
    )


async def prove_chunks(
    root: Path, stack: tuple[ManifestDisk, ...], chunks: Iterable[int], choice: ModeChoice, runtime: Path
) -> None:
    """Compare some chunks of a disk with its digests. `stack`: it and all below, all found sound in structure.

    Raises Unproven, WorkerError.
    """
    disk = stack[0]
    with _blaming():
        written = await asyncio.to_thread(open_list, root, disk)
    with written:
        with _blaming():
            check_digest_root(disk, await _reading(disk, written.root))
        wanted = bytearray(written.chunks.count)
        for chunk in chunks:
            if chunk >= len(wanted):
                raise Unproven(f"{PurePosixPath(disk.file).name} has no chunk {chunk}")
            wanted[chunk] = 1
        comparison = Comparison(written)
        reading = Reading(root / disk.file, len(stack), written.chunks, wanted)
        await _compare(disk, comparison, reading, choice, runtime)
        comparison.judge(disk)


async def _compare(
    disk: ManifestDisk,
    comparison: Comparison,
    reading: Reading,
    choice: ModeChoice,
    runtime: Path,
    on_chunk: Callable[[int], None] = nothing,
) -> None:
    try:
        with _blaming():
            await read_chunks(reading, comparison.put, choice, runtime, f"parent-{disk.key}", on_chunk)
    except OSError as error:
        raise storage_error(error, f"reading the digests of {PurePosixPath(disk.file).name}") from error


async def _reading(disk: ManifestDisk, work: Callable[[], _T]) -> _T:
    """`work` on a list that is open, in a thread. Raises WorkerError, ImageCorrupt where it can't be read."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise reading_error(error, layout.digests_of(PurePosixPath(disk.file)).name) from error


class Comparison:
    """What was read against the list that was written; threads may `put` at the same time."""

    def __init__(self, written: DigestFile) -> None:
        self._written = written
        self._wrong = bytearray(written.chunks.count)

    def put(self, index: int, value: bytes) -> None:
        """Chunk `index` reads as something with this digest. Raises OSError."""
        if self._written.get(index) != value:
            self._wrong[index] = 1

    def zeroes(self, others: bytearray) -> None:
        """All chunks but `others`, which has one byte per chunk, read as zeroes. Raises OSError."""
        for first, page in self._written.pages():
            count = len(page) // DIGEST_SIZE
            zeroes = self._written.chunks.zeroes(first, count)
            if page == zeroes:
                continue
            for at in range(count):
                part = slice(at * DIGEST_SIZE, (at + 1) * DIGEST_SIZE)
                if not others[first + at] and page[part] != zeroes[part]:
                    self._wrong[first + at] = 1

    def judge(self, disk: ManifestDisk) -> None:
        """Raise Unproven for the first chunks that do not read as they were written."""
        first = self._wrong.find(1)
        if first < 0:
            return
        start = first * disk.digest.chunk
        text = f"{PurePosixPath(disk.file).name}: its content from byte {start} on is not what was written"
        raise Unproven(text, chunks=tuple(islice(marked(self._wrong), MOST_CHUNKS)))


@contextmanager
def _blaming(layer: str = "") -> Iterator[None]:
    """Condemn the restore point for what a file shows."""
    try:
        yield
    except WorkerError as error:
        if error.reason != Reason.IMAGE_CORRUPT:
            raise
        raise Unproven(error.message, layer=layer) from error


async def _check_structure(root: Path, stack: tuple[ManifestDisk, ...]) -> LayerMap:
    """Check all headers before any image is opened: opening one opens those below it.

    The lowest layer comes first: one that is damaged spoils the checks of all above it.
    """
    for disk in reversed(stack):
        backing = PurePosixPath(disk.parent.file).name if disk.parent else None
        with _blaming(disk.file):
            await asyncio.to_thread(qemu_tools.read_header, root / disk.file, disk.virtual_size, backing)
    for disk in reversed(stack):
        with _blaming(disk.file):
            await qemu_tools.check(root / disk.file)
    top = stack[0]
    with _blaming(top.file):
        layer = await qemu_tools.map_layer(root / top.file, top.virtual_size, top.digest.chunk, len(stack))
    for depth, end in sorted(layer.file_ends.items(), reverse=True):
        with _blaming(stack[depth].file):
            _check_length(root / stack[depth].file, end)
    return layer


def _check_length(path: Path, end: int) -> None:
    try:
        size = path.lstat().st_size
    except OSError as error:
        raise reading_error(error, path.name) from error
    if size < end:
        # Beyond its end a file reads as zeroes, and qemu-img check accepts that within the last cluster.
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name} was truncated: {size} bytes, its data ends at {end}")


def open_list(root: Path, disk: ManifestDisk) -> DigestFile:
    """Return the digest list of a disk; its content is not looked at. Raises WorkerError."""
    # Its place follows from the layer's, which was checked to be below the root.
    place = layout.digests_of(PurePosixPath(disk.file))
    try:
        return DigestFile.open(root / place, Chunks(disk.virtual_size, disk.digest.chunk))
    except OSError as error:
        raise reading_error(error, place.name) from error
    except ValueError as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{place.name}: {error}") from error


def check_digest_root(disk: ManifestDisk, found: str) -> None:
    """Raise WorkerError ImageCorrupt unless a list with the root `found` is the one that the manifest knows."""
    if found != disk.digest.root:
        place = layout.digests_of(PurePosixPath(disk.file))
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{place.name}: it is not the one that its manifest knows")


class _Meter:
    """Tells each tenth of the chunks."""

    def __init__(self, total: int, report: Callable[[int], None]) -> None:
        self._total, self._report = total, report
        self._done = 0
        self._told = 0

    def add(self, _: int) -> None:
        """One more; called by several threads, so that a tenth may be reported twice at worst."""
        self._done += 1
        tenth = self._done * 10 // max(1, self._total)
        if tenth > self._told:
            self._told = tenth
            self._report(tenth * 10)
