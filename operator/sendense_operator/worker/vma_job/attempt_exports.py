"""The layers of one attempt and their NBD exports, for all disks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sendense_operator.api.v1alpha1.names import export_name
from sendense_operator.chain import layout
from sendense_operator.chain.layout import ChainPaths
from sendense_operator.chain.parent_choice import LayerPlan
from sendense_operator.logs import get_logger
from sendense_operator.task import BackupTask, BackupType, Exposure, TaskDisk
from sendense_operator.vma.nbd_targets import Target, build_nbd_targets
from sendense_operator.worker.errors import Reason, WorkerError, storage_error
from sendense_operator.worker.images import nbd_export, qemu_tools
from sendense_operator.worker.images.nbd_export import ModeChoice, Nbd
from sendense_operator.worker.images.nbd_handshake import wait_until_greets
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.storage.durable_io import allocated, ensure_folder, names_in, open_regular

log = get_logger(__name__)

_CLOSE_SECONDS = 600.0
"""Time limit for closing an export: without O_DIRECT, closing has to write back the whole page cache."""


@dataclass
class DiskExport:
    """One disk of the attempt, with its layer and its export."""

    plan: LayerPlan
    file: PurePosixPath
    """Path of the layer below the root once it is committed."""
    port: int
    name: str
    server: Nbd | None = None
    fsync_descriptor: int | None = None
    """Descriptor of the layer, opened before qemu-nbd opened it, for the fsync at the end. The kernel reports a failed
    write-back once per descriptor that was open at that time: qemu-nbd receives that report and still ends with 0, and
    a descriptor that is opened later receives none."""

    def flush(self) -> None:
        """Make everything durable that was written. Raises OSError if any write was lost."""
        if self.fsync_descriptor is not None:
            os.fsync(self.fsync_descriptor)

    def close_descriptor(self) -> None:
        """Close the descriptor that `flush` uses."""
        if self.fsync_descriptor is not None:
            os.close(self.fsync_descriptor)
            self.fsync_descriptor = None

    @property
    def disk(self) -> TaskDisk:
        """The VM's disk."""
        return self.plan.disk


class ExportSet:
    """The layers of all disks: creates and serves them, and closes or removes them."""

    def __init__(self, task: BackupTask, settings: Settings, root: Path, paths: ChainPaths, runtime: Path) -> None:
        self._task, self._settings, self._root, self._paths = task, settings, root, paths
        self._runtime = runtime
        self.choice = ModeChoice()
        self.disks: list[DiskExport] = []
        self._names: dict[BackupType, str] = {}

    async def open(self, plans: Sequence[LayerPlan]) -> None:
        """Create and serve the partials of all disks. Raises WorkerError; `remove_partials` is then needed, too."""
        folders = [plan.folder for plan in plans]
        try:
            for folder in folders:
                ensure_folder(self._root / folder, self._root)
        except OSError as error:
            raise storage_error(error, "creating the chain's folders") from error
        taken = frozenset(name for folder in folders for name in names_in(self._root / folder))
        now = datetime.now(UTC)
        self._names = {kind: layout.layer_name(layout.free_stem(kind, now, taken)) for kind in BackupType}
        for plan in plans:
            port = self._settings.nbd_base_port + plan.disk.index
            name = export_name(self._settings.pod_uid, plan.disk.index)
            self.disks.append(DiskExport(plan, plan.folder / self._names[plan.type], port, name))
        # The first one determines whether this storage supports O_DIRECT, and `self.choice` passes that on.
        await self._open_one(self.disks[0])
        try:
            async with asyncio.TaskGroup() as group:
                for item in self.disks[1:]:
                    group.create_task(self._open_one(item))
        except* WorkerError as errors:
            raise _first(errors) from errors

    async def _open_one(self, item: DiskExport) -> None:
        path = self._root / layout.partial(item.file)
        await qemu_tools.create(path, item.disk.virtual_size, item.plan.backing)
        try:
            item.fsync_descriptor = open_regular(path)
        except OSError as error:
            raise storage_error(error, f"opening the layer of disk {item.disk.index}") from error
        refuse = self._task.appliance.zero_writes == "Refuse"
        item.server = await nbd_export.start(
            f"disk{item.disk.index}",
            ["-x", item.name, "-b", self._settings.pod_ip, "-p", str(item.port)],
            lambda mode: qemu_tools.serve_options(path, mode, refuse, item.plan.layers),
            self.choice,
            self._runtime,
        )

    @property
    def advertised_host(self) -> str:
        """Host of the exports that the appliance receives."""
        own = self._settings.pod_ip if self._task.exposure == Exposure.POD_IP else self._settings.node_ip
        return self._task.advertised_host or own

    async def wait_until_reachable(self) -> None:
        """Wait until each export sends its NBD greeting at the address where Kubernetes exposes it.

        An advertised host of another name is the end of a tunnel, which only the appliance reaches: then the node's
        address is checked, and a failure is only logged. Raises WorkerError ExportUnreachable.
        """
        inside = self._task.exposure == Exposure.POD_IP
        host = self._settings.pod_ip if inside else self._settings.node_ip
        ports = [item.port if inside else item.disk.port for item in self.disks]
        greeted = await asyncio.gather(*(wait_until_greets(host, port, self._settings.probe_wait) for port in ports))
        silent = [port for port, answered in zip(ports, greeted, strict=True) if not answered]
        if not silent:
            return
        text = f"no NBD greeting from {host}:{silent[0]} within {self._settings.probe_wait:.0f} s"
        if self._task.advertised_host not in (None, host):
            log.warning(
                "the export is not reachable at the node's address; it may be at the address that the appliance uses",
                error=text,
                address=self._task.advertised_host,
            )
            return
        raise WorkerError(
            Reason.EXPORT_UNREACHABLE,
            f"{text}: check the Service, the port range and the NetworkPolicies (spec.nbd.exposure is "
            f"{self._task.exposure})",
        )

    def nbd_targets(self) -> str:
        """Return the NBD targets for the start call. Raises ValueError if the host is not valid."""
        host = self.advertised_host
        return build_nbd_targets([Target(item.disk.key, host, item.disk.port, item.name) for item in self.disks])

    def offered(self, index: int) -> str:
        """Return the HOST:PORT that the appliance receives for a disk."""
        host = self.advertised_host
        port = next(disk.port for disk in self._task.disks if disk.index == index)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def gone(self) -> tuple[int, ...]:
        """Return the disk indexes whose qemu-nbd has ended."""
        return tuple(item.disk.index for item in self.disks if item.server is None or item.server.gone)

    def allocated(self) -> dict[int, int]:
        """Return the bytes that each partial occupies, by disk index."""
        return {item.disk.index: allocated(self._root / layout.partial(item.file)) for item in self.disks}

    async def close(self) -> None:
        """Close all exports and make the layers durable. Raises WorkerError if a write may have been lost."""
        await asyncio.gather(*(self._close_one(item) for item in self.disks))

    async def _close_one(self, item: DiskExport) -> None:
        if item.server is not None:
            await item.server.close(_CLOSE_SECONDS)
        try:
            await asyncio.to_thread(item.flush)
        except OSError as error:
            raise storage_error(error, f"flushing the layer of disk {item.disk.index}") from error
        finally:
            item.close_descriptor()

    async def kill(self) -> None:
        """Kill all exports; their layers are not used any more."""
        await asyncio.gather(*(item.server.kill() for item in self.disks if item.server and not item.server.gone))
        for item in self.disks:
            item.close_descriptor()

    def rename_to_full(self, item: DiskExport) -> None:
        """Rename a closed layer that was begun as an increment to the name of a full. Raises WorkerError."""
        file = item.plan.folder / self._names[BackupType.FULL]
        try:
            (self._root / layout.partial(item.file)).rename(self._root / layout.partial(file))
        except OSError as error:
            raise storage_error(error, f"renaming the layer of disk {item.disk.index}") from error
        item.file = file

    def remove_partials(self) -> None:
        """Remove the partials; only while this attempt holds the chain's lock.

        Errors are only logged, because the next attempt removes what is left.
        """
        for item in self.disks:
            for path in (item.file, layout.digests_of(item.file), layout.compact_of(item.file)):
                try:
                    (self._root / layout.partial(path)).unlink(missing_ok=True)
                except OSError as error:
                    log.warning("a partial could not be removed; the next attempt removes it", error=error)


def _first(errors: BaseExceptionGroup[WorkerError]) -> WorkerError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
