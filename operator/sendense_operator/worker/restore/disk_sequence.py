"""The disks of a restore, one after the other: all of them are proven before one gets its final name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Generic, TypeVar

from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.restore.disk_image import DiskImage
from sendense_operator.worker.restore.disk_restore import DiskRestore, Source
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.target_claims import Targets, check_space
from sendense_operator.worker.restore.target_folder import TargetFolder

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T], state: RestoreState) -> _T:
    """Run `work` in a thread, to its end even if the restore is cancelled meanwhile."""
    result = await run_to_end(asyncio.to_thread(work))
    if state.stopping.requested or state.stopping.terminated_at is not None:
        raise asyncio.CancelledError
    return result


class RestoreSequence(Generic[Source]):
    """The disks with their images, in the order of the task."""

    def __init__(
        self, pairs: Sequence[tuple[DiskRestore[Source], DiskImage]], targets: Targets, state: RestoreState
    ) -> None:
        self._pairs, self._targets, self._state = pairs, targets, state

    async def run(
        self, reporting: Callable[[Source], AbstractAsyncContextManager[None]], on_step: Callable[[str], None]
    ) -> None:
        """Write the images and prove them; none has its final name yet. Raises WorkerError.

        `reporting` is entered where a disk is read: it turns Unproven into the WorkerError that ends the restore.
        """
        for disk, _ in self._pairs:
            async with reporting(disk.source):
                disk.accept_lost()
        needs = self._targets.needs([disk.needed for disk, _ in self._pairs])
        await asyncio.to_thread(check_space, needs)
        await self._prove_finished(reporting)
        unfinished = [(disk, image) for disk, image in self._pairs if not image.folder.is_finished]
        new = dict[TargetFolder, bool]()
        for folder in self._targets.folders:
            if not folder.is_finished:
                new[folder] = await in_thread(partial(folder.begin, on_step), self._state)
        for disk, image in unfinished:
            async with reporting(disk.source):
                await disk.restore(image, is_new=new[image.folder])
        await self._targets.seal(on_step)
        for disk, image in unfinished:
            async with reporting(disk.source):
                await disk.read_back(image)
        await self._targets.prove(self._state)

    async def _prove_finished(self, reporting: Callable[[Source], AbstractAsyncContextManager[None]]) -> None:
        for folder in self._targets.folders:
            if folder.is_finished:
                folder.examine()
        self._targets.load()
        for disk, image in self._pairs:
            if image.folder.is_finished:
                async with reporting(disk.source):
                    await disk.prove_finished(image)
