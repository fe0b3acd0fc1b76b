"""What a client reports while it works: the progress record (to its server) and telemetry (to the control plane)."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from reference_vma.callbacks import ControlPlane, Report

CREATING_SNAPSHOT: Final = "Creating Snapshot"
TRANSFER: Final = "Transfer"
_SNAPSHOT_PERCENT: Final = 15.0
_GIB: Final = 1 << 30
_STEP: Final = 10.0
_REPORT_SECONDS: Final = 0.2


class Meter:
    """Counts the bytes of the disk being copied; all numbers jump back with each disk."""

    def __init__(self, control_plane: ControlPlane, report: Report, telemetry_seconds: float) -> None:
        self._control_plane = control_plane
        self._report = report
        self._seconds = telemetry_seconds
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._started = time.monotonic()
        self._last_report = 0.0
        self._told_percent = 0.0
        self.phase = ""
        self.sync_type = ""
        self.total = 0
        self.bytes = 0
        self.job_bytes = 0
        self.percent = 0.0
        self.status = "in_progress"

    def creating_snapshot(self) -> None:
        """The first report."""
        self.phase, self.percent = CREATING_SNAPSHOT, _SNAPSHOT_PERCENT
        self._publish()

    def start_disk(self, sync_type: str, total: int) -> None:
        """`total`: of an increment the bytes to copy, of a full see `full_total`."""
        with self._lock:
            self.phase, self.sync_type, self.total = TRANSFER, sync_type, total
            self.bytes, self.percent, self.status = 0, 0.0, "in_progress"
            self._started, self._told_percent = time.monotonic(), 0.0
        self._publish()

    def start_telemetry(self) -> None:
        """Report every few seconds and at each 10%, whatever the copy does, until the process ends."""
        threading.Thread(target=self._telemetry_loop, name="telemetry", daemon=True).start()

    def add(self, count: int) -> None:
        """Bytes that arrived in the export."""
        with self._lock:
            self.job_bytes += count
            if self.total:  # else a full below 1 GiB: it shows no progress at all
                self.bytes += count
                self.percent = 100.0 * self.bytes / self.total
            if self.percent - self._told_percent >= _STEP:
                self._told_percent = self.percent
                self._due.set()
            if time.monotonic() - self._last_report < _REPORT_SECONDS:
                return
        self._publish()

    def disk_copied(self) -> None:
        """A disk is in: "completed", although the job may have more disks and may yet fail."""
        with self._lock:
            self.status, self.percent = "completed", 100.0
        self._publish()
        self._due.set()

    def _publish(self) -> None:
        self._last_report = time.monotonic()
        self._report(
            "progress",
            status=self.status,
            phase=self.phase,
            percentage=self.percent,
            bytes_transferred=self.bytes,
            total_bytes=self.total,
            sync_type=self.sync_type,
            job_bytes=self.job_bytes,
        )

    def _telemetry(self) -> dict[str, Any]:
        elapsed = max(time.monotonic() - self._started, 1e-3)
        speed = self.bytes / elapsed
        # Not guarded against a total of 0 or one that is too small: then the rest is negative.
        eta = int((self.total - self.bytes) / speed) if speed else -1
        return {
            "status": "completed" if self.status == "completed" else "running",
            "bytes_transferred": self.bytes,
            "total_bytes": self.total,
            "transfer_speed_bps": int(speed),
            "eta_seconds": eta,
            "progress_percent": self.percent,
            "disks": [],
        }

    def _telemetry_loop(self) -> None:
        while True:
            self._due.wait(self._seconds)
            self._due.clear()
            if self.phase == TRANSFER:
                self._control_plane.telemetry(self._telemetry())


def full_total(sizes: list[int]) -> int:
    """`total_bytes` of a full: all disks of the VM together, rounded down to GiB, the same for each disk."""
    return sum(sizes) // _GIB * _GIB
