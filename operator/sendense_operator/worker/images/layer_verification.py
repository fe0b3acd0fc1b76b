"""Verification of a layer after its export was closed, up to one that is digested, durable and ready for the commit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.compaction import CompactionResult
from sendense_operator.chain.digests import Chunks
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.integrity import Evidence, judge_layer, what_ran
from sendense_operator.chain.manifest import CHUNK, Digest
from sendense_operator.chain.parent_choice import LayerPlan, ParentLayer
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupType, FullReason
from sendense_operator.worker.errors import WorkerError, storage_error
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.content_digests import write_digests
from sendense_operator.worker.images.layer_compaction import Compacted, CompactionRun, Increment
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import check_digest_root, open_list
from sendense_operator.worker.storage.digest_file import DigestFile
from sendense_operator.worker.storage.durable_io import allocated, fsync_path

log = get_logger(__name__)


@dataclass(frozen=True)
class Arrival:
    """What the worker observed while a layer was written."""

    received_bytes: int | None
    """Bytes received for it; None if the kernel does not count them."""
    whole_disk: bool
    """Whether a full copy writes every block."""
    copied_all: FullReason | None
    """Why the appliance copied the whole disk although an increment was planned; None if it did not."""


@dataclass(frozen=True)
class Examined:
    """A layer that was found to hold what was received."""

    layer: LayerMap
    type: BackupType
    """Kind of the layer, which may differ from what was planned."""
    reason: FullReason | None
    """Why it is a full although an increment was planned."""


@dataclass(frozen=True)
class Sealed:
    """A durable layer with its digest list."""

    layer: LayerMap
    """Its extents, which are others than those of the layer that was received if it was compacted."""
    stored_bytes: int
    digest: Digest
    compaction: CompactionResult | None = None
    """What became of its compaction; None for a full."""
    changed_bytes: int | None = None
    """Bytes that differ from the parent, zeroes included; None if it was not compacted."""


async def examine(root: Path, file: PurePosixPath, plan: LayerPlan, arrival: Arrival) -> Examined:
    """Check the partial of the layer `file` (path below `root`) without reading its data. Raises WorkerError.

    A planned increment that turns out to be a full has no backing file afterwards.
    """
    index, virtual_size = plan.disk.index, plan.disk.virtual_size
    path = root / layout.partial(file)
    qemu_tools.read_header(path, virtual_size, plan.backing)
    await qemu_tools.check(path)
    layer = await qemu_tools.map_layer(path, virtual_size, CHUNK, plan.layers)
    on_parent = plan.parent is not None
    evidence = Evidence(
        index, virtual_size, layer.coverage, arrival.received_bytes, arrival.whole_disk, on_parent, arrival.copied_all
    )
    refusal = judge_layer(evidence)
    if refusal is not None:
        raise WorkerError(refusal.doubt, refusal.message)
    kind, reason = what_ran(evidence)
    log.info(
        "layer verified",
        disk=index,
        kind=kind,
        covered_bytes=layer.coverage,
        virtual_size=virtual_size,
        received_bytes=arrival.received_bytes,
    )
    if on_parent and kind is BackupType.FULL:
        log.warning("the whole disk was copied instead of its changes: it becomes a full", disk=index, reason=reason)
        await qemu_tools.drop_backing(path, virtual_size)
    return Examined(layer, kind, reason)


async def seal(
    root: Path,
    file: PurePosixPath,
    index: int,
    examined: Examined,
    parent: ParentLayer | None,
    mode: ModeChoice,
    runtime: Path,
    compaction: CompactionRun | None = None,
) -> Sealed:
    """Write the digest list of an examined layer, and make both partials durable. Raises WorkerError.

    `parent`: parent of an increment, None for a full. The increment takes over its digests for all other chunks.
    `compaction`: how an increment is compacted, None: not at all. If that fails, the layer is sealed as it was
    received.
    """
    path = root / layout.partial(file)
    listing = layout.digests_of(file)
    layers = len(parent.stack) + 1 if parent else 1
    begin = partial(_begin_list, root, listing, examined.layer, parent)
    layer, done = examined.layer, Compacted()
    try:
        digests = await asyncio.to_thread(begin)
        try:
            if parent is not None and compaction is not None:
                done = await compaction.run(Increment(root, file, parent, layer), digests, mode, runtime, index)
            if not done.is_digested:
                if done.result in (CompactionResult.FAILED, CompactionResult.NO_ROOM):
                    # A thread of it may still be at its last chunk: it must not write into the list that counts.
                    digests.close()
                    digests = await asyncio.to_thread(begin)
                await write_digests(path, layers, layer, digests, mode, runtime, f"digest-{index}")
            await asyncio.to_thread(fsync_path, path)
            content = await asyncio.to_thread(digests.root)
            await asyncio.to_thread(digests.sync)
        finally:
            digests.close()
        stored_bytes = allocated(path)
    except OSError as error:
        raise storage_error(error, f"digesting and flushing the layer of disk {index}") from error
    digest = Digest(root=content, list=str(listing))
    return Sealed(done.layer or layer, stored_bytes, digest, done.result, done.changed_bytes)


def _begin_list(root: Path, listing: PurePosixPath, layer: LayerMap, parent: ParentLayer | None) -> DigestFile:
    """Create a layer's digest list with the digests of its parent, or of zeroes. Raises OSError, WorkerError."""
    digests = DigestFile.create(root / layout.partial(listing), Chunks(layer.virtual_size, layer.chunk))
    try:
        if parent is None:
            digests.fill_zeroes()
        else:
            with open_list(root, parent.disk) as below:
                check_digest_root(parent.disk, digests.copy(below))
    except BaseException:
        digests.close()
        raise
    return digests
