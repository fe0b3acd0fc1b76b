"""Proof that a restore point's disk still reads as it was written: structure of its layers, digests, content.

Only what the files themselves show counts against a restore point. If storage hangs or a server can't be started, this
attempt fails with WorkerError, and the restore point is not condemned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sendense_operator.chain import layout
from sendense_operator.chain.digests import DIGEST_SIZE, Chunks
from sendense_operator.chain.extents import marked
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import MOST_CHUNKS
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError, reading_error, storage_error
from sendense_operator.worker.images.content_digests import UNPACED, Pace, Reading, digesting, ignore_chunk, read_chunks
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.unproven import Unproven, corruption_as_unproven
from sendense_operator.worker.storage.digest_file import DigestFile

log = get_logger(__name__)

_T = TypeVar("_T")


async def prove(
    root: Path, parent: ParentLayer, content: bool, choice: ModeChoice, runtime: Path, report: Callable[[str], None]
) -> None:
    """Prove a disk of a restore point and all layers that it depends on, the cheap checks first.

    With `content`, all data is read and compared with the digests. `report` receives progress messages. Raises Unproven
    if the restore point is damaged, and WorkerError for any other failure.
    """
    disk = parent.disk
    what = f"the parent of the disk with key {disk.key}, restore point {parent.manifest.backup.name}"
    report(f"checking {what}")
    began = time.monotonic()
    layer = await StructureChecks(root).check(parent.stack)
    with corruption_as_unproven():
        written = await asyncio.to_thread(open_list, root, disk)
    with written:
        with corruption_as_unproven():
            check_digest_root(disk, await read_list(disk, written.root))
        if content:
            meter = _Meter(layer.data_chunks.count(1), lambda percent: report(f"checking {what}: {percent}% read"))
            reading = Reading(root / disk.file, len(parent.stack), written.chunks, layer.data_chunks)
            comparison = Comparison(written)
            await compare(disk, comparison, reading, choice, runtime, meter.add)
            with corruption_as_unproven():
                await read_list(disk, partial(comparison.put_zeroes, layer.data_chunks))
            comparison.judge(disk)
    read = layer.data_chunks.count(1) * layer.chunk if content else 0
    log.info(
        "checked", object=what, layers=len(parent.stack), read_bytes=read, seconds=round(time.monotonic() - began, 1)
    )


async def prove_chunks(
    root: Path,
    stack: tuple[ManifestDisk, ...],
    chunks: Iterable[int],
    choice: ModeChoice,
    runtime: Path,
    pace: Pace = UNPACED,
) -> None:
    """Compare chunks of a disk with its digests.

    `stack`: the disk's layer and all layers below, top first; their structure must have been checked. `chunks`: chunk
    indexes. Raises Unproven if one differs, and WorkerError for any other failure.
    """
    disk = stack[0]
    with corruption_as_unproven():
        written = await asyncio.to_thread(open_list, root, disk)
    with written:
        with corruption_as_unproven():
            check_digest_root(disk, await read_list(disk, written.root))
        wanted = bytearray(written.chunks.count)
        for chunk in chunks:
            if chunk >= len(wanted):
                raise Unproven(f"{PurePosixPath(disk.file).name} has no chunk {chunk}")
            wanted[chunk] = 1
        comparison = Comparison(written)
        reading = Reading(root / disk.file, len(stack), written.chunks, wanted)
        await compare(disk, comparison, reading, choice, runtime, pace=pace)
        comparison.judge(disk)


async def compare(
    disk: ManifestDisk,
    comparison: Comparison,
    reading: Reading,
    choice: ModeChoice,
    runtime: Path,
    on_chunk: Callable[[int], None] = ignore_chunk,
    pace: Pace = UNPACED,
) -> None:
    """Read the wanted chunks of a disk into `comparison`. Raises Unproven, and WorkerError for any other failure."""
    try:
        with corruption_as_unproven():
            tag = f"parent-{disk.key}"
            await read_chunks(reading, digesting(comparison.put), choice, runtime, tag, on_chunk, pace)
    except OSError as error:
        raise storage_error(error, f"reading the digests of {PurePosixPath(disk.file).name}") from error


async def read_list(disk: ManifestDisk, work: Callable[[], _T]) -> _T:
    """Run `work`, which reads the disk's digest list, in a thread. Raises WorkerError if the list is unreadable."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise reading_error(error, layout.digests_of(PurePosixPath(disk.file)).name) from error


class Comparison:
    """Comparison of chunks that are read with the digest list `written`; threads may `put` at the same time."""

    def __init__(self, written: DigestFile) -> None:
        self._written = written
        self.wrong = bytearray(written.chunks.count)
        """One byte per chunk: 1 if it is not as it was written."""

    def put(self, index: int, value: bytes) -> None:
        """Record that chunk `index` was read and has the digest `value`. Raises OSError."""
        if self._written.get(index) != value:
            self.wrong[index] = 1

    def put_zeroes(self, others: bytearray) -> None:
        """Record that all chunks but those marked in `others` (one byte per chunk) read as zeroes. Raises OSError."""
        for first, page in self._written.pages():
            count = len(page) // DIGEST_SIZE
            zeroes = self._written.chunks.zeroes(first, count)
            if page == zeroes:
                continue
            for at in range(count):
                part = slice(at * DIGEST_SIZE, (at + 1) * DIGEST_SIZE)
                if not others[first + at] and page[part] != zeroes[part]:
                    self.wrong[first + at] = 1

    def judge(self, disk: ManifestDisk, most: int | None = MOST_CHUNKS) -> None:
        """Raise Unproven, with the first `most` chunks that differ (None: all), unless all are as they were written."""
        first = self.wrong.find(1)
        if first < 0:
            return
        start = first * disk.digest.chunk
        text = f"{PurePosixPath(disk.file).name}: the content at byte {start} of the disk is not what was written"
        raise Unproven(text, chunks=tuple(islice(marked(self.wrong), most)))


def open_list(root: Path, disk: ManifestDisk) -> DigestFile:
    """Open the digest list of a disk; its content is not checked. Raises WorkerError."""
    # The path is derived from that of the layer, which was checked to be below the root.
    place = layout.digests_of(PurePosixPath(disk.file))
    try:
        return DigestFile.open(root / place, Chunks(disk.virtual_size, disk.digest.chunk))
    except OSError as error:
        raise reading_error(error, place.name) from error
    except ValueError as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{place.name}: {error}") from error


def check_digest_root(disk: ManifestDisk, found: str) -> None:
    """Raise WorkerError ImageCorrupt unless `found`, the digest of a digest list, is the one in the manifest."""
    if found != disk.digest.root:
        place = layout.digests_of(PurePosixPath(disk.file))
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{place.name}: the digest list is not the one that the manifest names")


class _Meter:
    """Progress of reading: reports each tenth of the chunks, in percent."""

    def __init__(self, total: int, report: Callable[[int], None]) -> None:
        self._total, self._report = total, report
        self._done = 0
        self._reported = 0

    def add(self, _: int) -> None:
        """Count one chunk. Threads call it without a lock: at worst a tenth is reported twice."""
        self._done += 1
        tenth = self._done * 10 // max(1, self._total)
        if tenth > self._reported:
            self._reported = tenth
            self._report(tenth * 10)
