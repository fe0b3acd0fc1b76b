"""The restore point of a task: found in its chain, and pinned for as long as it is read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.restore_task import RestoreTask
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.point_stacks import Stack, layers_in, stacks_of
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.chain_folder import ChainFolder, StoredPoint
from sendense_operator.worker.storage.pins import Pin
from sendense_operator.worker.storage.point_lookup import PointLookup, locate_chain, read_consistently, read_listing
from sendense_operator.worker.storage.repository_marker import open_repository


@dataclass(frozen=True)
class PinnedPoint:
    """A restore point whose layers are not freed, even if it is removed."""

    root: Path
    """The repository's root."""
    chain: ChainFolder
    point: StoredPoint
    stacks: list[Stack]
    """Of the task's disks, in their order."""
    broken: list[tuple[Stack, Unproven]]
    """Disks whose stack is not complete."""
    runtime: Path
    """Folder for files of programs that read it."""


@asynccontextmanager
async def pinned_point(settings: Settings, task: RestoreTask) -> AsyncIterator[PinnedPoint]:
    """Pin the restore point of a task until the block ends. Raises WorkerError, RestorePointGone if it was removed."""
    root, paths = locate_chain(settings, task, (task.point,))
    open_repository(root, task.repository_id)
    runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
    try:
        pin, found = await read_consistently(lambda: _pin(settings, task, root, paths, runtime))
        with pin:
            yield found
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


async def _pin(
    settings: Settings, task: RestoreTask, root: Path, paths: ChainPaths, runtime: Path
) -> tuple[Pin, PinnedPoint]:
    chain = await read_listing(root, paths, settings)
    lookup = PointLookup(root, chain)
    point = lookup.find(task.point)
    if point is None:
        raise _gone(root, task)
    stacks, broken = stacks_of(_disks_of(task, point), chain)
    pin = await lookup.pin(point, layers_in(stacks), settings.pod_uid, settings.pin_wait)
    if pin is None:
        raise _gone(root, task)
    return pin, PinnedPoint(root, chain, point, stacks, broken, runtime)


def _gone(root: Path, task: RestoreTask) -> WorkerError:
    """Return the error for a restore point that was removed. Raises WorkerError if the repository is another one."""
    open_repository(root, task.repository_id)
    return WorkerError(Reason.RESTORE_POINT_GONE, f"restore point {task.point.backup} was removed")


def _disks_of(task: RestoreTask, point: StoredPoint) -> list[ManifestDisk]:
    """Return the disks of the task as they are in the manifest. Raises WorkerError if it has others."""
    known = {disk.index: disk for disk in point.manifest.disks}
    for disk in task.disks:
        found = known.get(disk.index)
        if found is None:
            raise WorkerError(
                Reason.DISKS_CHANGED, f"restore point {task.point.backup} has no disk {disk.index}", disk.index
            )
        if found.virtual_size != disk.virtual_size:
            text = (
                f"disk {disk.index} of restore point {task.point.backup} has {found.virtual_size} bytes, but this "
                f"restore was started for {disk.virtual_size} bytes"
            )
            raise WorkerError(Reason.DISKS_CHANGED, text, disk.index)
    return [known[disk.index] for disk in task.disks]
