"""Search for other restore points that share the damage of one, because they share its layers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Iterator
from pathlib import Path, PurePosixPath

from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.chain.parent_blocks import MOST_CHUNKS
from sendense_operator.chain.parent_choice import BrokenStackError, read_through, stack_of
from sendense_operator.worker.images.content_digests import UNPACED, Pace
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import prove_chunks
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint


async def find_damaged(
    root: Path,
    chain: ChainFolder,
    damaged: tuple[ManifestDisk, ...],
    found: Unproven,
    choice: ModeChoice,
    runtime: Path,
    report: Callable[[str], None],
    *,
    structure: StructureChecks | None = None,
    proven: Container[PurePosixPath] = (),
    pace: Pace = UNPACED,
) -> AsyncIterator[tuple[StoredPoint, ManifestDisk, Unproven]]:
    """Yield each disk of the restore points in `chain` that shares the damage `found` in the stack `damaged`.

    If a certain layer is damaged, every disk that is read through it is. If only chunks with wrong content are known,
    the damaged layer is not, and an increment may hide it: the same chunks are then read through each restore point
    that shares a layer, up to the first that is wrong, except those whose manifests are in `proven`. Without
    `structure`, only restore points whose layers are all in `damaged` are read, because those layers have been checked.
    Raises WorkerError for errors that prove no damage.
    """
    if found.layer:
        for point, disk in read_through(found.layer, chain.points, chain.tombstones):
            yield point, disk, found
        return
    if not found.chunks:
        return
    for point, stack in _sharing(chain, damaged):
        if point.place in proven or (structure is None and not {*_files(stack)} <= {*_files(damaged)}):
            continue
        report(f"checking restore point {point.manifest.backup.name} for the same damage")
        try:
            if structure is not None:
                await structure.check_layers(stack)
            for first in range(0, len(found.chunks), MOST_CHUNKS):
                await prove_chunks(root, stack, found.chunks[first : first + MOST_CHUNKS], choice, runtime, pace)
        except Unproven as error:
            yield point, stack[0], error


def _sharing(
    chain: ChainFolder, damaged: tuple[ManifestDisk, ...]
) -> Iterator[tuple[StoredPoint, tuple[ManifestDisk, ...]]]:
    """Yield the disks, each as its stack, that share a layer with `damaged`: those that have the same full."""
    known = [*chain.points, *chain.tombstones]
    for point in chain.points:
        for disk in point.manifest.disks:
            try:
                stack = stack_of(disk, known, chain.paths)
            except BrokenStackError:
                continue
            if stack[-1].file == damaged[-1].file and disk.file != damaged[0].file:
                yield point, stack


def _files(stack: tuple[ManifestDisk, ...]) -> Iterator[str]:
    return (layer.file for layer in stack)
