"""How far damage goes that was found under the newest restore point: others are read through the same layers.

What is not reported now never is: the next backup is a full, and nothing reads below that one.
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
    tell: Callable[[str], None],
) -> AsyncIterator[tuple[StoredPoint, ManifestDisk, Unproven]]:
    """Yield each disk of an `older` restore point that shares the damage `found` below `parent`.

    A layer that is at fault spoils all that are read through it. Where content is not what was written, it is unknown
    in which layer it lies, and an increment may hold what hides it: so the same chunks are read through each of the
    points below. Raises WorkerError for trouble of this attempt.
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
            tell(f"checking restore point {point.manifest.backup.name} for the same damage")
            try:
                stack = parent.stack[below[disk.file] :]
                await prove_chunks(root, (disk, *stack[1:]), found.chunks[:MOST_CHUNKS], choice, runtime)
            except Unproven as error:
                yield point, disk, error
