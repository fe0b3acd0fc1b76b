"""One attempt of a restore, from the task to the answer.

Nothing is written before everything was checked that can be checked without reading the disks. No image has its final
name before all of them are proven. A fatal failure or a cancellation removes what was written; after any other end it
stays for the next attempt. The chain's lock is not held; a pin keeps the layers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from sendense_operator.answer import Answer
from sendense_operator.chain.extents import marked
from sendense_operator.chain.manifest import CHUNK
from sendense_operator.logs import get_logger
from sendense_operator.restore_task import RestoreTask
from sendense_operator.worker.errors import FATAL, WorkerError
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.point_stacks import Stack
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.restore.damage_report import DamageReport
from sendense_operator.worker.restore.damaged_ranges import describe_damage_left
from sendense_operator.worker.restore.disk_restore import DiskRestore
from sendense_operator.worker.restore.disk_sequence import RestoreSequence, in_thread
from sendense_operator.worker.restore.disk_source import DiskSource, open_source
from sendense_operator.worker.restore.pinned_point import PinnedPoint, pinned_point
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.restore.target_claims import Targets
from sendense_operator.worker.restore.target_files import open_targets
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.commit import no_step
from sendense_operator.worker.storage.point_lookup import locate_chain

log = get_logger(__name__)


async def run_restore(
    settings: Settings, task: RestoreTask, state: RestoreState, on_step: Callable[[str], None] = no_step
) -> Answer:
    """Restore or verify the disks of a task, and return the answer. Raises WorkerError.

    `on_step` receives the name of each step that changes which files there are, before it is done.
    """
    locate_chain(settings, task, (task.point,))  # a task that is not valid changes nothing
    with targets_of(settings, task, state) as targets:
        if not task.verify_only:
            await in_thread(targets.inspect, state)
        async with pinned_point(settings, task) as pinned:
            run = _Run(settings, task, state, pinned)
            return await run.to_answer(targets, on_step)


@contextlib.contextmanager
def targets_of(settings: Settings, task: RestoreTask, state: RestoreState) -> Iterator[Targets]:
    """Provide the targets; when the block ends, remove from them what no further attempt can continue."""
    targets = open_targets(settings, task, CHUNK)
    try:
        yield targets
    except WorkerError as error:
        if error.reason in FATAL or state.stopping.requested:  # in both cases no attempt follows
            targets.discard()
        raise
    except asyncio.CancelledError:
        if state.stopping.requested:
            targets.discard()
        raise
    finally:
        targets.close()


class _Run:
    """The restore of a restore point whose layers are pinned."""

    def __init__(self, settings: Settings, task: RestoreTask, state: RestoreState, pinned: PinnedPoint) -> None:
        self._task, self._state, self._pinned = task, state, pinned
        self._choice, self._structure = ModeChoice(), StructureChecks(pinned.root)
        self._report = DamageReport(
            settings,
            pinned.root,
            task.repository_id,
            pinned.chain,
            self._structure,
            self._choice,
            pinned.runtime,
            state.say,
        )

    async def to_answer(self, targets: Targets, on_step: Callable[[str], None]) -> Answer:
        """Restore the disks, and return the answer. Raises WorkerError."""
        for stack, found in self._pinned.broken:
            raise await self._damaged(stack, found)
        with contextlib.ExitStack() as opened:
            disks = [await self._open(stack, opened) for stack in self._pinned.stacks]
            if self._task.verify_only:
                await self._verify(disks)
            else:
                await self._restore(disks, targets, on_step)
            results = [disk.result() for disk in disks]
        return Answer(
            outcome="Completed",
            message=describe_damage_left(results),
            restored=tuple(result for result, _ in results),
            started=self._state.started,
        )

    async def _verify(self, disks: Sequence[DiskRestore[DiskSource]]) -> None:
        for disk in disks:
            async with self._reporting(disk.source.stack):
                await disk.verify()
        await self._mark_accepted(disks)

    async def _restore(
        self, disks: Sequence[DiskRestore[DiskSource]], targets: Targets, on_step: Callable[[str], None]
    ) -> None:
        images = targets.images(self._pinned.point.manifest, [disk.source for disk in disks], self._pinned.runtime)
        sequence = RestoreSequence(tuple(zip(disks, images, strict=True)), targets, self._state)
        await sequence.run(lambda source: self._reporting(source.stack), on_step)
        await self._mark_accepted(disks)
        await run_to_end(asyncio.to_thread(targets.publish, on_step))

    async def _open(self, stack: Stack, opened: contextlib.ExitStack) -> DiskRestore[DiskSource]:
        """Check the structure of a disk of the restore point. Raises WorkerError."""
        disk = next(disk for disk in self._task.disks if disk.index == stack[0].index)
        self._state.say(f"checking disk {disk.index} of restore point {self._task.point.backup}")
        async with self._reporting(stack):
            source = await open_source(self._pinned.root, disk, stack, self._structure)
        opened.callback(source.written.close)
        return DiskRestore(
            source, self._state, self._choice, self._pinned.runtime, allow_damaged=self._task.allow_damaged
        )

    @contextlib.asynccontextmanager
    async def _reporting(self, stack: Stack) -> AsyncIterator[None]:
        """Turn Unproven into the WorkerError that ends the restore; the damage is marked before."""
        try:
            yield
        except Unproven as error:
            raise await self._damaged(stack, error) from error

    async def _damaged(self, stack: Stack, found: Unproven) -> WorkerError:
        """Mark the damage, and return the error that ends the restore. Raises WorkerError as `record` does."""
        await self._report.record(self._pinned.point, stack, found)
        await self._report.write()
        return self._report.error(self._pinned.point, stack, found, [disk.index for disk in self._task.disks])

    async def _mark_accepted(self, disks: Sequence[DiskRestore[DiskSource]]) -> None:
        """Mark the damage that the task accepts. Errors are logged."""
        for disk in disks:
            source = disk.source
            if source.damaged.find(1) < 0:
                continue
            try:
                await self._report.record(
                    self._pinned.point, source.stack, source.unproven(tuple(marked(source.damaged)))
                )
            except WorkerError as error:
                log.warning("the damage is not marked", disk=disk.disk.index, error=error)
        await self._report.write()
