"""Is a restore point's disk still what was written? Its layers' structure, its digests, its content.

Only what the files themselves show speaks against a restore point: storage that hangs or a server that can't be
started is trouble of this attempt, and raises WorkerError.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.digests import DIGEST_SIZE, DigestList, root_of
from sendense_operator.chain.extents import LayerMap, chunk_count, marked
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parents import ParentLayer
from sendense_operator.worker import qemu
from sendense_operator.worker.digesting import UnreadableChunk, digest_layer
from sendense_operator.worker.export import ModeChoice
from sendense_operator.worker.files import read_regular
from sendense_operator.worker.reasons import Reason, WorkerError, reading_error

log = logging.getLogger(__name__)


class Unproven(Exception):  # noqa: N818 - says what was found
    """The restore point can't be read as it was written; the text says what was found."""

    def __init__(self, message: str, *, layer: str = "", chunks: tuple[int, ...] = ()) -> None:
        """`layer`: path of the one that is at fault, if one is; `chunks`: those that do not read as they were written.

        Neither: something of the restore point alone.
        """
        super().__init__(message)
        self.layer, self.chunks = layer, chunks


async def prove(
    root: Path, parent: ParentLayer, content: bool, choice: ModeChoice, runtime: Path, tell: Callable[[str], None]
) -> None:
    """Check a disk of a restore point with all layers that it stands on, cheap proofs first.

    With `content` all its data is read and compared with its digests. `tell` gets what is being done. Raises
    Unproven, or WorkerError for what is not the restore point's fault.
    """
    disk = parent.disk
    what = f"the parent of the disk with key {disk.key}, restore point {parent.manifest.backup.name}"
    tell(f"checking {what}")
    began = time.monotonic()
    layer = await _check_structure(root, parent.stack)
    with _blaming():
        digests = await asyncio.to_thread(read_digests, root, disk)
    if content:
        meter = _Meter(sum(layer.data_chunks), lambda percent: tell(f"checking {what}: {percent}% read"))
        with _blaming():
            path = root / disk.file
            found = await digest_layer(path, layer, choice, runtime, f"parent-{disk.key}", on_chunk=meter.add)
        _compare(disk, digests, found)
    read = sum(1 for _ in marked(layer.data_chunks)) * layer.chunk if content else 0
    log.info("checked %s: %d layers, %d bytes read in %.1f s", what, len(parent.stack), read, time.monotonic() - began)


async def prove_chunks(
    root: Path, disk: ManifestDisk, chunks: Iterable[int], choice: ModeChoice, runtime: Path
) -> None:
    """Compare some chunks of a disk with its digests, whose layers were all found sound in structure.

    Raises Unproven, WorkerError.
    """
    with _blaming():
        digests = await asyncio.to_thread(read_digests, root, disk)
        layer = LayerMap(disk.virtual_size, disk.digest.chunk)
        for chunk in chunks:
            layer.own_chunks[chunk] = layer.data_chunks[chunk] = 1
        base = DigestList.from_bytes(digests.to_bytes(), digests.size, digests.chunk)
        found = await digest_layer(root / disk.file, layer, choice, runtime, f"parent-{disk.key}", base)
    _compare(disk, digests, found)


@contextmanager
def _blaming(layer: str = "") -> Iterator[None]:
    """What a file shows speaks against the restore point."""
    try:
        yield
    except UnreadableChunk as error:
        raise Unproven(error.message, chunks=(error.chunk,)) from error
    except WorkerError as error:
        if error.reason != Reason.IMAGE_CORRUPT:
            raise
        raise Unproven(error.message, layer=layer) from error


async def _check_structure(root: Path, stack: tuple[ManifestDisk, ...]) -> LayerMap:
    """All headers before any image is opened: opening one opens those below it.

    The lowest layer comes first: one that is damaged spoils the checks of all above it.
    """
    for disk in reversed(stack):
        backing = PurePosixPath(disk.parent.file).name if disk.parent else None
        with _blaming(disk.file):
            await asyncio.to_thread(qemu.read_header, root / disk.file, disk.virtual_size, backing)
    for disk in reversed(stack):
        with _blaming(disk.file):
            await qemu.check(root / disk.file)
    top = stack[0]
    with _blaming(top.file):
        layer = await qemu.map_layer(root / top.file, top.virtual_size, top.digest.chunk)
    for depth, end in sorted(layer.file_ends.items(), reverse=True):
        with _blaming(stack[depth].file):
            _check_length(root / stack[depth].file, end)
    return layer


def _check_length(path: Path, end: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise reading_error(error, path.name) from error
    if size < end:
        # Beyond its end a file reads as zeroes, and qemu-img check accepts that within the last cluster.
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name} was truncated: {size} bytes, its data ends at {end}")


def read_digests(root: Path, disk: ManifestDisk) -> DigestList:
    """The list of digests of a disk. Raises WorkerError, ImageCorrupt unless it is the one that the manifest knows."""
    # Its place follows from the layer's, which was checked to be below the root.
    place = layout.digests_of(PurePosixPath(disk.file))
    try:
        data = read_regular(root / place, DIGEST_SIZE * chunk_count(disk.virtual_size, disk.digest.chunk) + 1)
        digests = DigestList.from_bytes(data, disk.virtual_size, disk.digest.chunk)
        if root_of(data) != disk.digest.root:
            raise ValueError("it is not the one that its manifest knows")
    except OSError as error:
        raise reading_error(error, place.name) from error
    except ValueError as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{place.name}: {error}") from error
    return digests


def _compare(disk: ManifestDisk, written: DigestList, found: DigestList) -> None:
    wrong = written.differences(found)
    if wrong:
        start = wrong[0] * disk.digest.chunk
        text = f"{PurePosixPath(disk.file).name}: its content from byte {start} on is not what was written"
        raise Unproven(text, chunks=wrong)


class _Meter:
    """Tells each tenth of the chunks."""

    def __init__(self, total: int, tell: Callable[[int], None]) -> None:
        self._total, self._tell = total, tell
        self._done = 0
        self._told = 0

    def add(self, _: int) -> None:
        """One more; called by several threads, so that a tenth may be told twice at worst."""
        self._done += 1
        tenth = self._done * 10 // max(1, self._total)
        if tenth > self._told:
            self._told = tenth
            self._tell(tenth * 10)
