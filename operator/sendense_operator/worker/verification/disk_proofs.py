"""Proofs of the disks of one run. Each layer is checked once, and each byte is read once.

Restore points of one lineage share layers. If one was read, an older one reads other bytes only in chunks that a layer
between the two defines. All other chunks are the same bytes, so what was found of them holds for both.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from operator import and_, or_
from pathlib import Path, PurePosixPath

from blake3 import blake3

from sendense_operator.chain.digests import DIGEST_SIZE
from sendense_operator.chain.extents import LayerMap, chunk_length, inverted
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.worker.errors import WorkerError
from sendense_operator.worker.images.content_digests import Reading
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import Comparison, check_digest_root, compare, open_list, read_list
from sendense_operator.worker.images.unproven import corruption_as_unproven
from sendense_operator.worker.storage.digest_file import DigestFile
from sendense_operator.worker.verification.run_state import VerificationState

_ONE = 1


@dataclass(frozen=True)
class _Found:
    """What reading a disk of a newer restore point showed; one byte per chunk in each array."""

    files: tuple[str, ...]
    """Paths of the layers that were read, top first."""
    disk: ManifestDisk
    defined_by: bytearray
    wrong: bytearray


class DiskProofs:
    """Proofs of disks; the newest restore point must come first, otherwise bytes are read more often."""

    def __init__(
        self,
        root: Path,
        structure: StructureChecks,
        choice: ModeChoice,
        runtime: Path,
        state: VerificationState,
        *,
        content: bool,
    ) -> None:
        self._root, self._structure, self._choice, self._runtime = root, structure, choice, runtime
        self._state, self._content = state, content
        self._found: dict[PurePosixPath, _Found] = {}
        """The last one by folder: in memory there is never more than one per disk."""

    async def prove(self, stack: tuple[ManifestDisk, ...]) -> None:
        """Prove a disk, given as its layer and all layers below, the cheap checks first.

        Raises Unproven, with all chunks that are wrong, and WorkerError for failures that prove nothing.
        """
        disk = stack[0]
        layer = await self._structure.check(stack)
        with corruption_as_unproven():
            written = await asyncio.to_thread(open_list, self._root, disk)
        with written:
            with corruption_as_unproven():
                check_digest_root(disk, await read_list(disk, written.root))
            if self._content:
                await self._read(stack, layer, written)

    async def _read(self, stack: tuple[ManifestDisk, ...], layer: LayerMap, written: DigestFile) -> None:
        disk, folder = stack[0], PurePosixPath(stack[0].file).parent
        comparison = Comparison(written)
        above = self._found.get(folder)
        if above is not None and disk.file not in above.files:
            del self._found[folder]
            above = None
        wanted = layer.data_chunks
        if above is not None:
            fresh = await read_list(disk, lambda: self._fresh(above, disk, written))
            wanted = bytearray(map(and_, layer.data_chunks, fresh))
            same = bytearray(map(and_, layer.data_chunks, inverted(fresh)))
            comparison.wrong[:] = bytes(map(and_, above.wrong, same))
        self._state.expect(_bytes(wanted, disk))
        reading = Reading(self._root / disk.file, len(stack), written.chunks, wanted)
        await compare(disk, comparison, reading, self._choice, self._runtime, pace=self._state)
        await read_list(disk, lambda: comparison.put_zeroes(layer.data_chunks))
        files = tuple(below.file for below in stack)
        self._found[folder] = _Found(files, disk, layer.defined_by, comparison.wrong)
        comparison.judge(disk, most=None)

    def _fresh(self, above: _Found, disk: ManifestDisk, written: DigestFile) -> bytearray:
        """Return the chunks, one byte each, that may read or should read otherwise than in the restore point above."""
        depth = above.files.index(disk.file)
        redefined = above.defined_by.translate(bytes(value < depth for value in range(256)))
        return bytearray(map(or_, redefined, self._differing(above, written)))

    def _differing(self, above: _Found, written: DigestFile) -> bytearray:
        """Return the chunks whose digests differ from those of the restore point above; all, if its list changed."""
        differing = bytearray(written.chunks.count)
        root = blake3()
        try:
            with open_list(self._root, above.disk) as other:
                for (first, page), (_, known) in zip(written.pages(), other.pages(), strict=True):
                    root.update(known)
                    if page != known:
                        _mark_differences(differing, first, page, known)
        except (OSError, WorkerError, ValueError):
            return bytearray([_ONE]) * written.chunks.count
        return differing if root.hexdigest() == above.disk.digest.root else bytearray([_ONE]) * len(differing)


def _mark_differences(differing: bytearray, first: int, page: bytes, known: bytes) -> None:
    for at in range(0, len(page), DIGEST_SIZE):
        if page[at : at + DIGEST_SIZE] != known[at : at + DIGEST_SIZE]:
            differing[first + at // DIGEST_SIZE] = _ONE


def _bytes(wanted: bytearray, disk: ManifestDisk) -> int:
    """Return the bytes of the marked chunks."""
    last = len(wanted) - 1
    short = disk.digest.chunk - chunk_length(last, disk.virtual_size, disk.digest.chunk) if wanted[last] else 0
    return wanted.count(_ONE) * disk.digest.chunk - short
