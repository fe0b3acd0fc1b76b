"""Where the faults of a client strike: every write passes here first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from reference_vma.callbacks import Report
from reference_vma.spec import FaultSpec, JobSpec


def _nothing() -> None:
    """Until somebody wants to know of a deadlock."""


class Gate:
    """Counts what is about to be written and stops, slows or ends the process as configured."""

    def __init__(self, job: JobSpec, report: Report) -> None:
        self._report = report
        self._faults = [fault for fault in job.faults if fault.mode in ("die", "deadlock")]
        self._corrupt = job.fault("corrupt")
        rate = job.fault("rate")
        self.bytes_per_second = rate.bytes_per_second if rate else 0.0
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._job_bytes = 0
        self._disk_bytes = 0
        self.disk = 0
        self._open = threading.Event()
        self._open.set()
        self.on_deadlock: Callable[[], None] = _nothing

    @property
    def needs_small_requests(self) -> bool:
        """Whether a fault depends on the exact number of bytes."""
        return bool(self._faults) or bool(self.bytes_per_second)

    @property
    def corrupts(self) -> bool:
        """Whether `corrupt` may change what is sent."""
        return self._corrupt is not None

    def start_disk(self, index: int) -> None:
        """The copy of the disk at `position` in device order begins."""
        self.disk, self._disk_bytes = index, 0

    def before(self, count: int) -> None:
        """About to write `count` bytes: may sleep, never return, or end the process."""
        self._open.wait()
        with self._lock:
            for fault in self._faults:
                self._strike(fault)
            self._job_bytes += count
            self._disk_bytes += count
            delay = self._delay(count)
        if delay > 0:
            time.sleep(delay)

    def corrupt(self, data: memoryview, offset: int) -> None:
        """Flip one byte of what goes to the export, if configured to."""
        fault = self._corrupt
        if fault and self.disk == (fault.disk or 0) and 0 <= fault.offset - offset < len(data):
            data[fault.offset - offset] ^= 0xFF

    def pause(self) -> None:
        """Stop before the next write."""
        self._open.clear()

    def resume(self) -> None:
        """Go on."""
        self._open.set()

    def deadlock(self, why: str) -> None:
        """Never return; telemetry goes on, the snapshot stays."""
        self.pause()
        self._report("event", event="deadlocked", reason=why)
        self.on_deadlock()
        threading.Event().wait()

    def die(self) -> None:
        """End the process as SIGKILL does: nothing is cleaned up."""
        os.kill(os.getpid(), signal.SIGKILL)

    def _strike(self, fault: FaultSpec) -> None:
        if fault.disk is not None and fault.disk != self.disk:
            return
        if (self._job_bytes if fault.disk is None else self._disk_bytes) < fault.bytes:
            return
        if fault.mode == "die":
            self.die()
        self.deadlock("configured to")

    def _delay(self, count: int) -> float:
        if not self.bytes_per_second:
            return 0.0
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self.bytes_per_second
        return self._free_at - now
