"""A read-only NBD export of the disks of a restore point, for as long as somebody may want to look into them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from sendense_operator.answer import Answer
from sendense_operator.chain import layout
from sendense_operator.chain.manifest import ManifestDisk
from sendense_operator.logs import get_logger
from sendense_operator.restore_task import RestoreTask, digests_export_name, digests_port, restored_export_name
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import nbd_export, nbd_tls, qemu_tools
from sendense_operator.worker.images.layer_structure import StructureChecks
from sendense_operator.worker.images.nbd_export import ModeChoice, Nbd
from sendense_operator.worker.images.point_stacks import Stack
from sendense_operator.worker.images.proof import check_digest_root, open_list, read_list
from sendense_operator.worker.images.unproven import Unproven, corruption_as_unproven
from sendense_operator.worker.restore.pinned_point import PinnedPoint, pinned_point
from sendense_operator.worker.restore.restore_state import RestoreState
from sendense_operator.worker.settings import Settings

log = get_logger(__name__)

_CLOSE_SECONDS = 10.0


async def serve_point(settings: Settings, task: RestoreTask, state: RestoreState) -> Answer:
    """Serve the disks of a task until its time is over, and return the answer. Raises WorkerError.

    The structure of all layers is checked before; the content is not, since reading it takes as long as a copy.
    """
    async with pinned_point(settings, task) as pinned:
        for _, found in pinned.broken:
            raise _damaged(task, found)
        structure, servers = StructureChecks(pinned.root), list[Nbd]()
        try:
            choice = ModeChoice()
            for stack in pinned.stacks:
                state.say(f"checking disk {stack[0].index} of restore point {task.point.backup}")
                await _check(task, structure, stack)
                servers.append(await _start(settings, task, pinned, stack, choice))
                if task.serve_digests:
                    servers.append(await _start_digests(settings, task, pinned, stack, choice))
            state.serve(f"{len(pinned.stacks)} disks of restore point {task.point.backup} can be read")
            log.info("serving", disks=len(pinned.stacks), restore_point=task.point.backup, seconds=task.serve_seconds)
            await _until_over(servers, task.serve_seconds)
        finally:
            await asyncio.gather(*(_close(server) for server in servers))
    return Answer(outcome="Completed", message="the time of the export is over", started=state.started)


async def _check(task: RestoreTask, structure: StructureChecks, stack: Stack) -> None:
    try:
        await structure.check(stack)
    except Unproven as error:
        raise _damaged(task, error) from error


def _damaged(task: RestoreTask, found: Unproven) -> WorkerError:
    text = f"restore point {task.point.backup} is damaged: {found}"
    return WorkerError(Reason.RESTORE_POINT_DAMAGED, text)


async def _start(settings: Settings, task: RestoreTask, pinned: PinnedPoint, stack: Stack, choice: ModeChoice) -> Nbd:
    disk: ManifestDisk = stack[0]
    path, port = pinned.root / disk.file, settings.nbd_base_port + disk.index
    tls = nbd_tls.server_flags(settings.tls_dir) if task.serve_tls else []
    return await nbd_export.start(
        f"disk-{disk.index}",
        ["-r", "-x", restored_export_name(disk.index), "-b", settings.pod_ip, "-p", str(port), *tls],
        lambda mode: qemu_tools.read_options(path, mode, len(stack)),
        choice,
        pinned.runtime,
    )


async def _start_digests(
    settings: Settings, task: RestoreTask, pinned: PinnedPoint, stack: Stack, choice: ModeChoice
) -> Nbd:
    """Serve the digest list of a disk, once it is proven to be the one that the manifest names."""
    disk: ManifestDisk = stack[0]
    try:
        with corruption_as_unproven():
            written = await asyncio.to_thread(open_list, pinned.root, disk)
        with written, corruption_as_unproven():
            check_digest_root(disk, await read_list(disk, written.root))
    except Unproven as error:
        raise _damaged(task, error) from error
    path = pinned.root / layout.digests_of(PurePosixPath(disk.file))
    port, name = digests_port(settings.nbd_base_port, disk.index), digests_export_name(disk.index)
    return await nbd_export.start(
        name,
        ["-r", "-x", name, "-b", settings.pod_ip, "-p", str(port), *nbd_tls.server_flags(settings.tls_dir)],
        lambda mode: qemu_tools.raw_options(path),
        choice,
        pinned.runtime,
    )


async def _until_over(servers: Sequence[Nbd], seconds: float | None) -> None:
    """Wait until the time is over. Raises WorkerError ExportFailed if a server ends before."""
    ends = [asyncio.create_task(server.process.wait()) for server in servers]
    try:
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    if done:
        server = next(server for server in servers if server.gone)
        raise WorkerError(Reason.EXPORT_FAILED, f"{server.what}: qemu-nbd ended: {server.stderr()}")


async def _close(server: Nbd) -> None:
    if not server.gone:
        # Nothing was written, so there is nothing to flush.
        with contextlib.suppress(WorkerError):
            await server.close(_CLOSE_SECONDS)
