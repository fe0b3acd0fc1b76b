"""Search for older restore points that share the damage found below the newest one, because they share its layers.

It has to happen now: the next backup is a full, so no later attempt reads the layers below.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import MOST_CHUNKS
from sendense_operator.chain.parent_choice import ParentLayer, read_through
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import Unproven, prove_chunks
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint


async def find_damaged(
    root: Path,
    older: ChainFolder,
    parent: ParentLayer,
    found: Unproven,
    choice: ModeChoice,
    runtime: Path,
    report: Callable[[str], None],
) -> AsyncIterator[tuple[StoredPoint, ManifestDisk, Unproven]]:
    """Yield each disk of an `older` restore point that shares the damage `found` below `parent`.

    If a certain layer is damaged, every disk that is read through it is. If only chunks with wrong content are known,
    the damaged layer is not, and an increment may hide it: the same chunks are then read through each restore point
    below. Raises WorkerError for errors that prove no damage.
    """
    if found.layer:
        for point, disk in read_through(found.layer, older.points, older.tombstones):
            yield point, disk, found
        return
    below = {layer.file: depth for depth, layer in enumerate(parent.stack)}
    for point in older.points if found.chunks else ():
        for disk in point.manifest.disks:
            if disk.file not in below:
                continue
            report(f"checking restore point {point.manifest.backup.name} for the same damage")
            try:
                stack = parent.stack[below[disk.file] :]
                await prove_chunks(root, (disk, *stack[1:]), found.chunks[:MOST_CHUNKS], choice, runtime)
            except Unproven as error:
                yield point, disk, error
