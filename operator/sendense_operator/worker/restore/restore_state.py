"""State of a running restore: the run updates it, and the status port reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sendense_operator.restore_task import RestoreDisk, RestoreTask
from sendense_operator.task import DiskProgress, Progress, Stage
from sendense_operator.worker.images.traffic import RateMeter, eta_seconds
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings


class _DiskState:
    """Bytes of one disk that are restored, and those that are left in the present pass over it."""

    def __init__(self) -> None:
        self.restored = 0
        self.proven = False


class RestoreState:
    """Progress of the disks. Threads may `add` at the same time."""

    def __init__(
        self,
        task: RestoreTask,
        settings: Settings,
        stopping: Stopping,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.started = datetime.now(UTC)
        self.stopping = stopping
        self._clock, self._job_id, self._disks = clock, settings.pod_uid, task.disks
        self._states = {disk.index: _DiskState() for disk in task.disks}
        self._stage = Stage.STARTING
        self._message = ""
        self._current: RestoreDisk | None = None
        self._left = self._passed = 0
        self._meter = RateMeter()
        self._lock = threading.Lock()

    def say(self, message: str) -> None:
        """Set the message of what is being done beside reading and writing a disk."""
        with self._lock:
            self._message, self._current = message, None

    def restore(self, disk: RestoreDisk, left: int) -> None:
        """Record that `left` bytes of a disk are restored from now on; the others are there already, or zeroes."""
        self._begin(Stage.RESTORING, disk, left, f"restoring disk {disk.index}")
        with self._lock:
            state = self._states[disk.index]
            state.restored = max(state.restored, disk.virtual_size - left)

    def read_back(self, disk: RestoreDisk, left: int, what: str = "reading back") -> None:
        """Record that `left` bytes of a disk are read to prove it from now on."""
        self._begin(Stage.VERIFYING, disk, left, f"{what} disk {disk.index}")

    def serve(self, message: str) -> None:
        """Record that the disks can be read over NBD from now on."""
        with self._lock:
            self._stage, self._message, self._current = Stage.SERVING, message, None

    def complete(self, disk: RestoreDisk) -> None:
        """Record that a disk is proven."""
        with self._lock:
            self._states[disk.index].restored = disk.virtual_size
            self._states[disk.index].proven = True

    def add(self, length: int) -> None:
        """Count bytes of the current pass. Called by threads."""
        with self._lock:
            self._left = max(0, self._left - length)
            self._passed += length
            self._meter.add(self._clock(), self._passed)
            disk = self._current
            if disk is not None and self._stage is Stage.RESTORING:
                state = self._states[disk.index]
                state.restored = min(disk.virtual_size, state.restored + length)

    def progress(self) -> Progress:
        """Return the progress for the status port."""
        with self._lock:
            rate = self._meter.rate if self._current else 0.0
            return Progress(
                job_id=self._job_id,
                stage=self._stage,
                started=self.started,
                disks=tuple(self._progress_of(disk, rate) for disk in self._disks),
                rate=rate,
                eta_seconds=eta_seconds(self._remaining(), rate),
                message=self._message,
            )

    def _begin(self, stage: Stage, disk: RestoreDisk, left: int, message: str) -> None:
        with self._lock:
            self._stage, self._current, self._message = stage, disk, message
            self._left, self._passed, self._meter = left, 0, RateMeter()
            self._meter.add(self._clock(), 0)

    def _progress_of(self, disk: RestoreDisk, rate: float) -> DiskProgress:
        state = self._states[disk.index]
        is_current = self._current is not None and self._current.index == disk.index
        return DiskProgress(
            index=disk.index,
            virtual_size=disk.virtual_size,
            received_bytes=state.restored,
            completed=state.proven,
            rate=rate if is_current else 0.0,
            eta_seconds=eta_seconds(self._left, rate) if is_current else None,
        )

    def _remaining(self) -> int:
        """Return the bytes that are left in the present pass over all disks."""
        others = 0
        for disk in self._disks:
            if self._current is None or disk.index != self._current.index:
                state = self._states[disk.index]
                others += disk.virtual_size - state.restored if self._stage is Stage.RESTORING else 0
        return self._left + others
