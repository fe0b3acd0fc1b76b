"""The structure of a stack of layers: headers, `qemu-img check`, and the end of the data against the file's length."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath

from sendense_operator.chain.extents import LayerMap
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.worker.errors import Reason, WorkerError, reading_error
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.unproven import Unproven, corruption_as_unproven


class StructureChecks:
    """Checks of the structure of layers, each of which is checked once, however many stacks it is in."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._headers: dict[str, Unproven | None] = {}
        self._images: dict[str, Unproven | None] = {}

    async def check(self, stack: tuple[ManifestDisk, ...], merged: int = 1) -> LayerMap:
        """Check the structure of all layers, and return the extents of the top one. Raises Unproven, WorkerError.

        `merged`: number of layers, from the top, that count as the top one.

        All headers are checked before any image is opened, because opening one opens those below it. The lowest layer
        comes first, because the checks of all layers above a damaged one fail, too.
        """
        await self.check_layers(stack)
        top = stack[0]
        with corruption_as_unproven(top.file):
            path, size = self._root / top.file, top.virtual_size
            layer = await qemu_tools.map_layer(path, size, top.digest.chunk, len(stack), merged)
        for depth, end in sorted(layer.file_ends.items(), reverse=True):
            with corruption_as_unproven(stack[depth].file):
                _check_length(self._root / stack[depth].file, end)
        return layer

    async def check_layers(self, stack: tuple[ManifestDisk, ...]) -> None:
        """As `check`, without the end of the data: it takes a map, which depends on all layers."""
        for disk in reversed(stack):
            await _once(self._headers, disk.file, lambda disk=disk: self._check_header(disk))  # type: ignore[misc]
        for disk in reversed(stack):
            path = self._root / disk.file
            await _once(self._images, disk.file, lambda path=path: qemu_tools.check(path))  # type: ignore[misc]

    async def _check_header(self, disk: ManifestDisk) -> None:
        backing = PurePosixPath(disk.parent.file).name if disk.parent else None
        await asyncio.to_thread(qemu_tools.read_header, self._root / disk.file, disk.virtual_size, backing)


async def _once(found: dict[str, Unproven | None], file: str, check: Callable[[], Awaitable[None]]) -> None:
    """Run the check of a layer unless its result is known. What proves nothing, a WorkerError, is not remembered."""
    if file not in found:
        try:
            with corruption_as_unproven(file):
                await check()
        except Unproven as error:
            found[file] = error
        else:
            found[file] = None
    known = found[file]
    if known is not None:
        raise Unproven(str(known), layer=known.layer)


def _check_length(path: Path, end: int) -> None:
    try:
        size = path.lstat().st_size
    except OSError as error:
        raise reading_error(error, path.name) from error
    if size < end:
        # A file reads as zeroes beyond its end, and qemu-img check accepts that within the last cluster.
        raise WorkerError(Reason.IMAGE_CORRUPT, f"{path.name} is truncated: {size} bytes, but its data ends at {end}")
