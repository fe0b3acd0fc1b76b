"""Compaction of an increment that was received, before its commit: from layer to smaller layer, or nothing.

The compacted layer is written beside the received one and takes its place only once it was proven to read the same.
Until then every failure leaves the received layer as it was. Both are partials, so a crash leaves nothing that counts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from operator import and_, gt, or_
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.compaction import CompactionResult, Content, Received, decide_compaction, has_room
from sendense_operator.chain.digests import digest
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.parent_choice import ParentLayer
from sendense_operator.logs import get_logger
from sendense_operator.task import Compaction
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images import difference_proof, layer_difference, proof, qemu_tools
from sendense_operator.worker.images.content_digests import Reading, digesting, prepare_digests, read_chunks
from sendense_operator.worker.images.layer_difference import Stack, Written
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.storage.digest_file import DigestFile
from sendense_operator.worker.storage.durable_io import allocated, fsync_path, open_regular
from sendense_operator.worker.storage.repository_marker import capacity

log = get_logger(__name__)


@dataclass(frozen=True)
class Increment:
    """A received increment that was examined; its file is closed and durable."""

    root: Path
    file: PurePosixPath
    """Path of the layer below the root once it is committed."""
    parent: ParentLayer
    layer: LayerMap
    """Its extents."""

    @property
    def received(self) -> Path:
        """The partial that was received."""
        return self.root / layout.partial(self.file)

    @property
    def compact(self) -> Path:
        """The partial of its compacted copy."""
        return self.root / layout.partial(layout.compact_of(self.file))

    @property
    def layers(self) -> int:
        """Number of layers of its stack, itself included."""
        return len(self.parent.stack) + 1


@dataclass(frozen=True)
class Compacted:
    """What became of a compaction."""

    result: CompactionResult | None = None
    """None: there was none."""
    layer: LayerMap | None = None
    """Extents of the layer that took the place of the received one; None if that one stays."""
    changed_bytes: int | None = None
    """Bytes that differ from the parent, zeroes included; None if they are not known."""
    is_digested: bool = False
    """Whether all digests of the increment were written."""


@dataclass(frozen=True)
class CompactionRun:
    """How the increments of an attempt are compacted."""

    compaction: Compaction
    min_free: int
    """Bytes that must stay free in the repository."""
    on_step: Callable[[str], None]
    """Receives each step before it is done; raises if the chain's lock was lost."""

    async def run(
        self, increment: Increment, digests: DigestFile, choice: ModeChoice, runtime: Path, index: int
    ) -> Compacted:
        """Compact an increment, and write its digests on the way. `digests` must hold those of its parent.

        `index`: disk index, for the names of files in `runtime` and for the log. A failure is an outcome. Raises
        WorkerError Fenced, and StorageError if the repository fails while the compacted layer takes its place.
        """
        try:
            refusal = self._decide(increment)
            if refusal is not None:
                log.info("increment not compacted", disk=index, result=refusal)
                return Compacted(refusal)
            done = await self._write(increment, digests, choice, runtime, f"compact-{index}")
        except Exception as error:  # whatever it is, the received layer is as it was
            if isinstance(error, WorkerError) and error.reason == Reason.FENCED:
                raise
            log.warning("compacting failed, the increment is stored as received", disk=index, error=error)
            _remove(increment.compact)
            result = CompactionResult.NO_ROOM if isinstance(error, _NoRoomError) else CompactionResult.FAILED
            return Compacted(result)
        before, after = allocated(increment.received), allocated(increment.compact)
        if after >= before:
            _remove(increment.compact)
            done = Compacted(CompactionResult.NOT_SMALLER, None, done.changed_bytes, is_digested=True)
        else:
            # Not in a thread: a cancellation would not stop it there, and what the attempt leaves is then removed.
            self._replace(increment)
        log.info(
            "increment compared with its parent",
            disk=index,
            result=done.result,
            received_bytes=before,
            changed_bytes=done.changed_bytes,
            stored_bytes=min(before, after),
        )
        return done

    def _decide(self, increment: Increment) -> CompactionResult | None:
        if self.compaction is Compaction.NEVER:
            return CompactionResult.NEVER
        layer = increment.layer
        received = Received(layer.guest_bytes, layer.own_chunks.count(1) * layer.chunk, allocated(increment.received))
        return decide_compaction(received, capacity(increment.root).free, self.min_free)

    async def _write(
        self, increment: Increment, digests: DigestFile, choice: ModeChoice, runtime: Path, tag: str
    ) -> Compacted:
        """Write and prove the compacted layer; the received one stays. Raises WorkerError, OSError."""
        self.on_step(f"compact: create {increment.compact.name}")
        backing = PurePosixPath(increment.parent.disk.file).name
        size = increment.layer.virtual_size
        await qemu_tools.create(increment.compact, size, backing)
        # Open before the server writes: the kernel reports a failed write-back only to descriptors that were open then.
        descriptor = open_regular(increment.compact)
        try:
            self.on_step(f"compact: write {increment.compact.name}")
            written = await self._difference(increment, digests, choice, runtime, tag)
            await asyncio.to_thread(os.fsync, descriptor)
            # The proof is to read what is stored, also where it can't read past the page cache.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        self.on_step(f"compact: prove {increment.compact.name}")
        qemu_tools.read_header(increment.compact, size, backing)
        await qemu_tools.check(increment.compact)
        layer = await qemu_tools.map_layer(increment.compact, size, increment.layer.chunk, increment.layers)
        await _prove(increment, layer, digests, written, choice, runtime, tag)
        return Compacted(CompactionResult.COMPACTED, layer, written.changed_bytes, is_digested=True)

    async def _difference(
        self, increment: Increment, digests: DigestFile, choice: ModeChoice, runtime: Path, tag: str
    ) -> Written:
        data = await asyncio.to_thread(prepare_digests, increment.layer, increment.layers, digests)
        comparison = layer_difference.Comparison(
            upper=Stack(increment.received, increment.layers),
            lower=Stack(increment.root / increment.parent.disk.file, increment.layers - 1),
            target=increment.compact,
            chunks=digests.chunks,
            touched=increment.layer.own_chunks,
            data=data,
        )

        def before_chunk() -> None:
            if not has_room(capacity(increment.root).free, self.min_free, 0):
                raise _NoRoomError(Reason.REPOSITORY_FULL, "too little space is left beside the received layer")

        def receive(index: int, data: Content) -> bool:
            """Write the digest of a chunk, unless it is the parent's: the proof finds a parent that reads otherwise."""
            value = digest(data)
            is_known = digests.get(index) == value
            if not is_known:
                digests.put(index, value)
            return is_known

        return await layer_difference.write_difference(comparison, receive, before_chunk, choice, runtime, tag)

    def _replace(self, increment: Increment) -> None:
        """Put the proven layer in the place of the received one. Raises WorkerError."""
        self.on_step(f"compact: rename {increment.compact.name}")
        try:
            increment.compact.rename(increment.received)
            fsync_path(increment.received.parent)
        except OSError as error:
            raise storage_error(error, f"renaming {increment.compact.name}") from error
        self.on_step(f"compact: renamed {increment.compact.name}")


class _NoRoomError(WorkerError):
    """The space for the compacted layer has become too small meanwhile."""


async def _prove(
    increment: Increment,
    layer: LayerMap,
    digests: DigestFile,
    written: Written,
    choice: ModeChoice,
    runtime: Path,
    tag: str,
) -> None:
    """Raise WorkerError unless the compacted layer, whose extents are `layer`, reads as the received one.

    Compared chunks are proven without another reading of the parent. The others are read through all layers and have to
    have the received digests: there, only the digests say that nothing has changed, and if the parent is damaged, what
    was received is the only copy. Chunks that the received layer does not touch, and those that are zeroes in both, are
    known from the extents.
    """
    own = increment.layer.own_chunks
    if any(map(gt, layer.own_chunks, own)):
        raise WorkerError(Reason.IMAGE_CORRUPT, "the compacted layer defines what the received one does not")
    chunks = digests.chunks
    await difference_proof.prove_difference(increment.compact, chunks, written, choice, runtime, f"{tag}-proof")
    either = bytearray(map(or_, layer.data_chunks, increment.layer.data_chunks))
    wanted = bytearray(map(gt, map(and_, own, either), written.compared))
    comparison = proof.Comparison(digests)
    reading = Reading(increment.compact, increment.layers, chunks, wanted)
    await read_chunks(reading, digesting(comparison.put), choice, runtime, f"{tag}-others")
    wrong = comparison.wrong.find(1)
    if wrong >= 0:
        text = f"the compacted layer does not read as the received one at byte {wrong * layer.chunk} of the disk"
        raise WorkerError(Reason.IMAGE_CORRUPT, text)


def _remove(compact: Path) -> None:
    try:
        compact.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a partial could not be removed; the next attempt removes it", error=error)
