"""State of a running attempt: callbacks and the kernel update it, the status endpoint reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sendense_operator.api.v1alpha1.names import last_path_element, vma_job_id
from sendense_operator.task import BackupTask, DiskProgress, Exposure, Progress, Stage, TaskDisk
from sendense_operator.vma.callback_rules import CallbackTraits, DiskPlan, JobCallbacks
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.nbd_connections import Connection, Connections
from sendense_operator.worker.images.peers import Peers, gateways
from sendense_operator.worker.images.traffic import RateMeter, Traffic, eta_seconds
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings


class JobState:
    """State of one VMA job."""

    def __init__(self, task: BackupTask, settings: Settings) -> None:
        self.job_id = vma_job_id(settings.pod_uid)
        self.started = datetime.now(UTC)
        self._began = time.monotonic()
        self.stage = Stage.STARTING
        self.message = ""
        self.stuck_client = False
        """Whether the VMA's client is known to hang after the attempt ended without success."""
        self.left = ""
        """What an unsuccessful attempt left on the appliance and in vCenter, for a message to the user."""
        self.callbacks_missing = False
        """Whether the VMA copies although no callback has arrived (`stall_clocks.are_callbacks_missing`)."""
        self.stopping = Stopping()
        self._peers = Peers(task.allowed_from, _own_addresses(task, settings))
        self._foreign_peer: Connection | None = None
        self._vm_name = last_path_element(task.appliance.vm_path)
        self._traits = CallbackTraits(
            names_disks=task.appliance.change_id_asks == "OwnDisk",
            repeats=task.appliance.callback_retries == "UntilAnswered",
        )
        self.plan([DiskPlan(disk.index) for disk in task.disks])
        self.changed = asyncio.Event()
        """Set after every callback."""
        self._disks = task.disks
        self._ports = {disk.index: settings.nbd_base_port + disk.index for disk in task.disks}
        self._connections = Connections(frozenset(self._ports.values()), settings.ipv6)
        self._rate = RateMeter()
        self._rates = {index: RateMeter() for index in self._ports}
        self._received_bytes = dict.fromkeys(self._ports, 0)
        self.traffic = Traffic(self._ports.values())

    @property
    def elapsed(self) -> timedelta:
        """Time since the attempt started, by a clock that nobody sets."""
        return timedelta(seconds=time.monotonic() - self._began)

    def set_message(self, message: str) -> None:
        """Set the message that the Backup's status shows while the attempt runs."""
        self.message = message

    def plan(self, disks: Sequence[DiskPlan]) -> None:
        """Set how change-ID requests are answered. Only before the VMA's job is started."""
        self._plans = disks
        self.callbacks = JobCallbacks(self.job_id, self._vm_name, disks, self._traits)

    def reset_observations(self) -> None:
        """Reset requests and connections, immediately before the VMA's job is started.

        Connections up to here are the worker's own checks of the exports. Change-ID requests up to here come from the
        client of an earlier job: a request names no job, and their number shows whether a copy is an increment.
        """
        self.plan(self._plans)
        self.traffic = Traffic(self._ports.values())

    def port(self, index: int) -> int:
        """Return the TCP port of the export of disk `index` inside the pod."""
        return self._ports[index]

    def sample(self, allocated: Mapping[int, int] | None = None) -> None:
        """Update connections and received bytes.

        `allocated`: bytes allocated by each disk's layer, by disk index; used if the kernel does not count bytes.
        """
        now = time.monotonic()
        found = self._connections.sample()
        self._foreign_peer = self._foreign_peer or self._peers.find_foreign(found)
        self.traffic.known = self._connections.knows_bytes
        by_port = {self._ports[index]: size for index, size in (allocated or {}).items()}
        self.traffic.add_sample(now, found, by_port)
        for disk in self._disks:
            received_bytes = min(disk.virtual_size, self.traffic.bytes_of(self._ports[disk.index]))
            self._received_bytes[disk.index] = max(self._received_bytes[disk.index], received_bytes)
            self._rates[disk.index].add(now, self._received_bytes[disk.index])
        self._rate.add(now, sum(self._received_bytes.values()))

    def current_last_connected(self) -> float | None:
        """Return when the current disk's export last had a connection (monotonic seconds), None for never."""
        current = self.callbacks.current_disk
        port = None if current is None else self.traffic.ports[self._ports[current]]
        return None if port is None else self.callbacks.since_completion(port.last_connected)

    def refuse_foreign_peers(self) -> None:
        """Raise WorkerError ForeignPeer if a sample showed a peer of an export that is not in `allowedFrom`.

        What such a peer read or wrote cannot be determined, so nothing of the attempt may be kept.
        """
        if self._foreign_peer is None:
            return
        index = next(index for index, port in self._ports.items() if port == self._foreign_peer.port)
        raise WorkerError(
            Reason.FOREIGN_PEER,
            f"{self._foreign_peer.peer} was connected to the export of disk {index}, but is not in the appliance's "
            "spec.nbd.allowedFrom: if this is the address of the appliance, or of a router or tunnel in front of it, "
            "add it there; otherwise block its access to the exports (firewall, NetworkPolicy)",
        )

    def close(self) -> None:
        """Release the socket; no more samples are taken."""
        self._connections.close()

    @property
    def knows_bytes(self) -> bool:
        """Whether the kernel counts bytes per connection."""
        return self._connections.knows_bytes

    def received_bytes(self, index: int) -> int | None:
        """Return the received bytes of a disk; None if the kernel does not count them."""
        return self.traffic.received_bytes(self._ports[index])

    def _disk_progress(self, disk: TaskDisk, copying: bool) -> DiskProgress:
        received_bytes = self._received_bytes[disk.index]
        rate = self._rates[disk.index].rate if copying else 0.0
        return DiskProgress(
            index=disk.index,
            virtual_size=disk.virtual_size,
            received_bytes=received_bytes,
            completed=disk.index in self.callbacks.change_ids,
            rate=rate,
            eta_seconds=eta_seconds(disk.virtual_size - received_bytes, rate),
        )

    def progress(self) -> Progress:
        """Return the response to GET /v1/status."""
        done = self.callbacks.change_ids
        copying = self.stage in (Stage.WAITING_FOR_VMA, Stage.COPYING)
        rate = self._rate.rate if copying else 0.0
        remaining = sum(
            disk.virtual_size - self._received_bytes[disk.index] for disk in self._disks if disk.index not in done
        )
        return Progress(
            job_id=self.job_id,
            stage=self.stage,
            started=self.started,
            disks=tuple(self._disk_progress(disk, copying and disk.index not in done) for disk in self._disks),
            rate=rate,
            eta_seconds=eta_seconds(remaining, rate) if copying else None,
            connections=self.traffic.connections,
            message=self.message,
            callbacks_missing=self.callbacks_missing,
        )


def _own_addresses(task: BackupTask, settings: Settings) -> list[str]:
    """Return the addresses of the pod and its node.

    Traffic through a port of the node may arrive from the pod's default gateway, which is the node as well.
    """
    return [settings.pod_ip, settings.node_ip, *(gateways() if task.exposure != Exposure.POD_IP else [])]
