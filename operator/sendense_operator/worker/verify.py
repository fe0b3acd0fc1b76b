"""From a closed export to a layer that may be committed: durable, checked, complete, with its digests."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sendense_operator.chain import layout
from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.integrity import Evidence, judge
from sendense_operator.chain.manifest import CHUNK, Digest
from sendense_operator.worker import qemu
from sendense_operator.worker.digesting import digest_layer
from sendense_operator.worker.export import ModeChoice
from sendense_operator.worker.files import allocated, fsync_path, write_durable
from sendense_operator.worker.reasons import WorkerError, storage_error

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verified:
    """What is known about a layer that may be committed."""

    layer: LayerMap
    stored: int
    digest: Digest


async def verify(
    root: Path,
    file: PurePosixPath,
    size: int,
    evidence: tuple[int, int | None, bool],
    choice: ModeChoice,
    runtime: Path,
) -> Verified:
    """Look at the partial of the layer `file` (path below `root`, of `size` guest bytes).

    `evidence`: the disk's index, the bytes received, whether the whole disk must be there. Cheap proofs come
    first, so that a bad layer costs no read. Raises WorkerError.
    """
    index, received, whole_disk = evidence
    path = root / layout.partial(file)
    qemu.read_header(path, size)
    await qemu.check(path)
    layer = await qemu.map_layer(path, size, CHUNK)
    refusal = judge(Evidence(index, size, layer.coverage, received, whole_disk))
    if refusal is not None:
        raise WorkerError(refusal.doubt, refusal.message)
    log.info("disk %d: %d of %d bytes covered, %s received", index, layer.coverage, size, received)
    digests = await digest_layer(path, layer, choice, runtime, f"digest-{index}")
    listing = layout.digests_of(file)
    try:
        await asyncio.to_thread(fsync_path, path)
        await asyncio.to_thread(write_durable, root / layout.partial(listing), digests.to_bytes())
        stored = allocated(path)
    except OSError as error:
        raise storage_error(error, f"flushing the layer of disk {index}") from error
    return Verified(layer, stored, Digest(root=digests.root, list=str(listing)))
