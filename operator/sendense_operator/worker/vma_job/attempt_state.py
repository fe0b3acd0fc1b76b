"""What a running attempt knows of itself: read by the status endpoint, fed by callbacks and by the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sendense_operator.api.v1alpha1.names import last_path_element, vma_job_id
from sendense_operator.task import BackupTask, DiskProgress, Exposure, Progress, Stage, TaskDisk
from sendense_operator.vma.callback_rules import DiskPlan, Habits, JobCallbacks
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.nbd_connections import Connection, Connections
from sendense_operator.worker.images.peers import Peers, gateways
from sendense_operator.worker.images.traffic import RateMeter, Traffic, eta_seconds
from sendense_operator.worker.settings import Settings
from sendense_operator.worker.vma_job.stop_requests import Stopping


class JobState:
    """State of one VMA job."""

    def __init__(self, task: BackupTask, settings: Settings) -> None:
        self.job_id = vma_job_id(settings.pod_uid)
        self.started = datetime.now(UTC)
        self.stage = Stage.STARTING
        self.message = ""
        self.stuck_client = False
        """Whether the VMA's client is known to hang after the attempt was given up."""
        self.left = ""
        """What is left on the appliance and in vCenter of a job that was given up, for a person."""
        self.callbacks_missing = False
        """Whether the VMA copies without a callback having arrived (`stall_clocks.are_callbacks_missing`)."""
        self.stopping = Stopping()
        self._peers = Peers(task.allowed_from, _own_addresses(task, settings))
        self._foreign_peer: Connection | None = None
        self._vm_name = last_path_element(task.appliance.vm_path)
        self._habits = Habits(
            names_disks=task.appliance.change_id_asks == "OwnDisk",
            repeats=task.appliance.callback_retries == "UntilAnswered",
        )
        self.plan([DiskPlan(disk.index) for disk in task.disks])
        self.changed = asyncio.Event()
        """Set by every callback."""
        self._disks = task.disks
        self._ports = {disk.index: settings.nbd_base_port + disk.index for disk in task.disks}
        self._connections = Connections(frozenset(self._ports.values()), settings.ipv6)
        self._rate = RateMeter()
        self._rates = {index: RateMeter() for index in self._ports}
        self._received_bytes = dict.fromkeys(self._ports, 0)
        self.traffic = Traffic(self._ports.values())

    def tell(self, message: str) -> None:
        """Set the message that users see while the attempt runs."""
        self.message = message

    def plan(self, disks: Sequence[DiskPlan]) -> None:
        """Set the answers to the VMA's change-ID requests, before its job is started."""
        self._plans = disks
        self.callbacks = JobCallbacks(self.job_id, self._vm_name, disks, self._habits)

    def forget_callers(self) -> None:
        """Start to count anew, right before the VMA's job is started.

        Connections so far were our own checks of the exports, requests those of an earlier job's client that was given
        up: a request names no job, and how often is asked decides what a copy is taken for.
        """
        self.plan(self._plans)
        self.traffic = Traffic(self._ports.values())

    def port(self, index: int) -> int:
        """Return where disk `index` listens."""
        return self._ports[index]

    def look(self, allocated: Mapping[int, int] | None = None) -> None:
        """Look at the connections now; `allocated`: bytes of the images by disk, used if the kernel is silent."""
        now = time.monotonic()
        found = self._connections.look()
        self._foreign_peer = self._foreign_peer or self._peers.foreign(found)
        self.traffic.known = self._connections.knows_bytes
        by_port = {self._ports[index]: size for index, size in (allocated or {}).items()}
        self.traffic.look(now, found, by_port)
        for disk in self._disks:
            received_bytes = min(disk.virtual_size, self.traffic.bytes_of(self._ports[disk.index]))
            self._received_bytes[disk.index] = max(self._received_bytes[disk.index], received_bytes)
            self._rates[disk.index].add(now, self._received_bytes[disk.index])
        self._rate.add(now, sum(self._received_bytes.values()))

    def turn_connected(self) -> float | None:
        """Return when the export of the current disk last had a connection (monotonic seconds); None: never."""
        turn = self.callbacks.turn
        port = None if turn is None else self.traffic.ports[self._ports[turn]]
        return None if port is None else self.callbacks.in_turn(port.last_connected)

    def refuse_foreign_peers(self) -> None:
        """Raise WorkerError if anybody who is not allowed to has spoken to an export, as far as was looked.

        What they read or wrote can't be determined, so nothing of the attempt may be kept.
        """
        if self._foreign_peer is None:
            return
        index = next(index for index, port in self._ports.items() if port == self._foreign_peer.port)
        raise WorkerError(
            Reason.FOREIGN_PEER,
            f"{self._foreign_peer.peer} was connected to the export of disk {index}, and is not in the appliance's "
            "spec.nbd.allowedFrom: if it is the appliance, or the address of a router or tunnel before it, add it "
            "there; else close its way to the exports (firewall, NetworkPolicy)",
        )

    def close(self) -> None:
        """No more checks."""
        self._connections.close()

    @property
    def knows_bytes(self) -> bool:
        """Whether the kernel tells bytes per connection."""
        return self._connections.knows_bytes

    def received_bytes(self, index: int) -> int | None:
        """Return the received bytes of a disk, None where the kernel does not count them."""
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
        """As GET /v1/status answers it."""
        done = self.callbacks.change_ids
        copying = self.stage in (Stage.WAITING_FOR_VMA, Stage.COPYING)
        rate = self._rate.rate if copying else 0.0
        left = sum(
            disk.virtual_size - self._received_bytes[disk.index] for disk in self._disks if disk.index not in done
        )
        return Progress(
            job_id=self.job_id,
            stage=self.stage,
            started=self.started,
            disks=tuple(self._disk_progress(disk, copying and disk.index not in done) for disk in self._disks),
            rate=rate,
            eta_seconds=eta_seconds(left, rate) if copying else None,
            connections=self.traffic.connections,
            message=self.message,
            callbacks_missing=self.callbacks_missing,
        )


def _own_addresses(task: BackupTask, settings: Settings) -> list[str]:
    """Of the pod and its node. The gateway is the node where the traffic comes through a port of the node."""
    return [settings.pod_ip, settings.node_ip, *(gateways() if task.exposure != Exposure.POD_IP else [])]
