"""A disk of a restore point whose repository this pod has mounted: its layers, and its digest list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from operator import and_
from pathlib import Path, PurePosixPath

from sendense_operator.chain.extents import LayerMap, inverted
from sendense_operator.restore_task import RestoreDisk
from sendense_operator.worker.images.content_digests import Content, Reading, read_chunks
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.point_stacks import Stack
from sendense_operator.worker.images.proof import check_digest_root, open_list, read_list
from sendense_operator.worker.images.unproven import corruption_as_unproven
from sendense_operator.worker.restore.digested_disk import DigestedDisk, zero_chunks


@dataclass
class DiskSource(DigestedDisk):
    """What is read of one disk, from its layers."""

    root: Path
    """The repository's root."""
    stack: Stack
    layer: LayerMap

    @property
    def lost(self) -> bytearray:
        """1 for chunks that were not zeroes when they were written, but of which no layer has data."""
        return bytearray(map(and_, self.content, inverted(self.layer.data_chunks)))

    @property
    def stored(self) -> bytearray:
        """1 for chunks of which a layer has data."""
        return self.layer.data_chunks

    @property
    def name(self) -> str:
        """File name of the top layer."""
        return PurePosixPath(self.stack[0].file).name

    async def read(
        self, wanted: bytearray, receive: Callable[[int, Content], None], choice: ModeChoice, runtime: Path
    ) -> None:
        """Read the wanted chunks, as in `DigestedDisk`. Raises Unproven for a layer of another size than the disk."""
        reading = Reading(self.root / self.stack[0].file, len(self.stack), self.chunks, wanted)
        with corruption_as_unproven():
            await read_chunks(reading, receive, choice, runtime, f"restore-{self.disk.index}")


async def open_source(root: Path, disk: RestoreDisk, stack: Stack, structure: StructureChecks) -> DiskSource:
    """Check the structure of a disk's layers and its digest list, and open the list.

    Raises Unproven, and WorkerError for failures that prove nothing.
    """
    layer = await structure.check(stack)
    with corruption_as_unproven():
        written = await asyncio.to_thread(open_list, root, stack[0])
    try:
        with corruption_as_unproven():
            check_digest_root(stack[0], await read_list(stack[0], written.root))
            zero = await read_list(stack[0], lambda: zero_chunks(written))
    except BaseException:
        written.close()
        raise
    return DiskSource(disk, written, zero, root, stack, layer)
