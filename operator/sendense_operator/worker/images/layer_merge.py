"""Merge of a layer with the layers directly below it into one new file, which is proven before it is used.

The inputs are only read. The new file is a partial; whoever calls removes it if the merge fails.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from operator import and_, le, or_
from pathlib import Path, PurePosixPath

from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images import proof, qemu_tools
from sendense_operator.worker.images.content_digests import Reading, digesting, read_chunks
from sendense_operator.worker.images.file_copy import copy_file
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.layer_union import Union, write_union
from sendense_operator.worker.images.merge_pace import Pace, ReadBack
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.digest_file import DigestFile
from sendense_operator.worker.storage.durable_io import allocated, open_new, open_regular

log = get_logger(__name__)


@dataclass(frozen=True)
class Merge:
    """Which layers of one disk become one."""

    root: Path
    """The repository's root."""
    stack: tuple[ManifestDisk, ...]
    """The disk of the restore point above the run, and all layers below: top first, the full last."""
    removed: int
    """How many layers directly below the first one become part of it; at least 1."""
    target: Path
    """The file to write, in the folder of the layers. One that exists is replaced."""

    def __post_init__(self) -> None:
        """Check the number of layers. Raises ValueError, which is a programming error."""
        if not 0 < self.removed < len(self.stack):
            raise ValueError(f"{self.removed} of the {len(self.stack) - 1} layers below")

    @property
    def becomes_full(self) -> bool:
        """Whether the full is among the layers that become one."""
        return self.removed == len(self.stack) - 1

    @property
    def backing(self) -> str | None:
        """File name of the layer that the new one is based on; None for a full."""
        return None if self.becomes_full else PurePosixPath(self.stack[self.removed + 1].file).name

    @property
    def top(self) -> Path:
        """The layer of the restore point."""
        return self.root / self.stack[0].file

    @property
    def depth(self) -> int:
        """Number of layers of the new stack, the new layer included."""
        return len(self.stack) - self.removed

    @property
    def written(self) -> int:
        """Number of layers, from the top, that are written into the target; a full below them is copied before."""
        return self.removed if self.becomes_full else self.removed + 1


@dataclass(frozen=True)
class MergedLayer:
    """A merged layer that is durable and proven."""

    layer: LayerMap
    """Its extents."""
    stored_bytes: int
    """Bytes that its file occupies."""
    written_bytes: int
    """Bytes of data that were written for it."""


async def merge_layers(
    merge: Merge, digests: DigestFile, pace: Pace, choice: ModeChoice, runtime: Path, tag: str
) -> MergedLayer:
    """Write the merged layer, make it durable, and prove that it reads as the restore point above the run.

    `digests`: the digest list of that restore point's disk; `tag` names files in `runtime`. Raises WorkerError:
    ImageCorrupt if an input, the digest list or what was written is not as it should be.
    """
    top = merge.stack[0]
    try:
        proof.check_digest_root(top, await asyncio.to_thread(digests.root))
        inputs = await StructureChecks(merge.root).check(merge.stack, merge.written)
        written = await _write(merge, inputs, digests, pace, choice, runtime, tag)
        qemu_tools.read_header(merge.target, top.virtual_size, merge.backing)
        await qemu_tools.check(merge.target)
        layer = await qemu_tools.map_layer(merge.target, top.virtual_size, top.digest.chunk, merge.depth)
        if not merge.becomes_full and layer.outline != inputs.outline:
            text = f"{merge.target.name} does not define the same parts of the disk as the layers that it was made of"
            raise WorkerError(Reason.IMAGE_CORRUPT, text)
        await _prove(merge, inputs, layer, digests, pace, choice, runtime, tag)
        stored = allocated(merge.target)
    except Unproven as error:
        raise WorkerError(Reason.IMAGE_CORRUPT, str(error)) from error
    except OSError as error:
        raise storage_error(error, f"merging layers into {merge.target.name}") from error
    log.info(
        "layers merged",
        object=PurePosixPath(top.file).name,
        layers=merge.removed + 1,
        is_full=merge.becomes_full,
        written_bytes=written,
        stored_bytes=stored,
    )
    return MergedLayer(layer, stored, written)


async def _write(
    merge: Merge, inputs: LayerMap, digests: DigestFile, pace: Pace, choice: ModeChoice, runtime: Path, tag: str
) -> int:
    """Write the target and make it durable; return the bytes of data written. Raises WorkerError, OSError.

    Its file is open all the time: the kernel reports a failed write-back only to descriptors that were open then.
    """
    copied = 0
    if merge.becomes_full:
        descriptor = open_new(merge.target, 0o644)
    else:
        await qemu_tools.create(merge.target, merge.stack[0].virtual_size, merge.backing)
        descriptor = open_regular(merge.target)
    try:
        if merge.becomes_full:
            copied = await asyncio.to_thread(_copy, merge.root / merge.stack[-1].file, descriptor, pace)
        union = Union(
            source=merge.top,
            layers=len(merge.stack),
            merged=merge.written,
            target=merge.target,
            target_layers=merge.depth,
            chunks=digests.chunks,
            defined=inputs.own_chunks,
        )
        written = await write_union(union, pace, choice, runtime, tag)
        await asyncio.to_thread(os.fsync, descriptor)
        # The proof is to read what is stored, also where it can't read past the page cache.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return copied + written


def _copy(full: Path, target: int, pace: Pace) -> int:
    source = open_regular(full)
    try:
        return copy_file(source, target, pace)
    finally:
        os.close(source)


async def _prove(
    merge: Merge,
    inputs: LayerMap,
    layer: LayerMap,
    digests: DigestFile,
    pace: Pace,
    choice: ModeChoice,
    runtime: Path,
    tag: str,
) -> None:
    """Raise WorkerError unless the target, with the extents `layer`, reads as the digests say where it may matter.

    For a full that is everywhere, for an increment where it defines something. Chunks that are zeroes by the extents
    of the inputs and of the target are not read, but their digests have to be those of zeroes.
    """
    concerned = bytearray(b"\1" * digests.chunks.count) if merge.becomes_full else inputs.own_chunks
    data = bytearray(map(or_, inputs.data_chunks, layer.data_chunks))
    wanted = bytearray(map(and_, concerned, data))
    comparison = proof.Comparison(digests)
    reading = Reading(merge.target, merge.depth, digests.chunks, wanted)
    await read_chunks(reading, digesting(comparison.put), choice, runtime, f"{tag}-proof", pace=ReadBack(pace))
    read_or_not_concerned = bytearray(map(le, concerned, wanted))
    await asyncio.to_thread(comparison.put_zeroes, read_or_not_concerned)
    wrong = comparison.wrong.find(1)
    if wrong >= 0:
        text = f"{merge.target.name} does not read as the restore point at byte {wrong * layer.chunk} of the disk"
        raise WorkerError(Reason.IMAGE_CORRUPT, text)
