"""One attempt of a restore whose disks another pod serves, since no node can mount the volumes of both.

It is a restore as any other, but for what is known of the restore point: damage ends it, or becomes zeroes, and is
marked in the repository only by a pod that has it, such as that of a Restore with verifyOnly.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sendense_operator.answer import Answer
from sendense_operator.restore_task import RestoreDisk, RestoreTask, digests_port
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.nbd_handshake import wait_until_greets
from sendense_operator.worker.images.unproven import Unproven
from sendense_operator.worker.lifecycle.stop_requests import run_to_end
from sendense_operator.worker.restore.damaged_ranges import describe_damage_left
from sendense_operator.worker.restore.disk_restore import DiskRestore
from sendense_operator.worker.restore.disk_sequence import RestoreSequence, in_thread
from sendense_operator.worker.restore.remote_disk import RemoteDisk, open_remote
from sendense_operator.worker.restore.restore_run import targets_of
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.commit import no_step


async def run_receiver(
    settings: Settings, task: RestoreTask, state: RestoreState, on_step: Callable[[str], None] = no_step
) -> Answer:
    """Restore the disks of a task from its sender, and return the answer. Raises WorkerError. As `run_restore`."""
    with targets_of(settings, task, state) as targets:
        await in_thread(targets.inspect, state)
        runtime = Path(tempfile.mkdtemp(prefix="sendense-"))
        try:
            with contextlib.ExitStack() as opened:
                disks = [await _open(settings, task, disk, state, runtime, opened) for disk in task.disks]
                images = targets.images(None, [disk.source for disk in disks], runtime)
                sequence = RestoreSequence(tuple(zip(disks, images, strict=True)), targets, state)
                await sequence.run(lambda source: _reporting(task, source), on_step)
                await run_to_end(asyncio.to_thread(targets.publish, on_step))
                results = [disk.result() for disk in disks]
        finally:
            shutil.rmtree(runtime, ignore_errors=True)
    return Answer(
        outcome="Completed",
        message=describe_damage_left(results),
        restored=tuple(result for result, _ in results),
        started=state.started,
    )


async def _open(
    settings: Settings,
    task: RestoreTask,
    disk: RestoreDisk,
    state: RestoreState,
    runtime: Path,
    opened: contextlib.ExitStack,
) -> DiskRestore[RemoteDisk]:
    state.say(f"waiting for the sender of disk {disk.index}")
    for port in (settings.nbd_base_port + disk.index, digests_port(settings.nbd_base_port, disk.index)):
        if not await wait_until_greets(task.sender, port, settings.sender_wait):
            text = f"sender {task.sender} does not serve disk {disk.index} within {settings.sender_wait:.0f} s"
            raise WorkerError(Reason.SENDER_LOST, text, disk.index)
    source = await open_remote(settings, task, disk, runtime)
    opened.callback(source.written.close)
    return DiskRestore(source, state, ModeChoice(), runtime, allow_damaged=task.allow_damaged)


@contextlib.asynccontextmanager
async def _reporting(task: RestoreTask, source: RemoteDisk) -> AsyncIterator[None]:
    try:
        yield
    except Unproven as error:
        text = f"restore point {task.point.backup}, disk {source.disk.index}: {error}"
        raise WorkerError(Reason.RESTORE_POINT_DAMAGED, text, source.disk.index) from error
