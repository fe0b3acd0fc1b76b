"""State of a running verification: the run updates it, the status port reads it, and the answer is made of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from sendense_operator.answer import PointResult
from sendense_operator.task import Progress, Stage, VerificationTask
from sendense_operator.worker.images.rate_limit import RateLimit
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings


class VerificationState:
    """Results so far, and what is being read; it is the readers' Pace, too."""

    def __init__(self, task: VerificationTask, settings: Settings, stopping: Stopping) -> None:
        self.started = datetime.now(UTC)
        self.stopping = stopping
        self.results = [PointResult.OPEN] * len(task.points)
        self.read_bytes = 0
        self.limit = RateLimit(task.bytes_per_second)
        self._job_id = settings.pod_uid
        self._points = task.points
        self._what = ""
        self._total = self._begin = 0
        self._lock = threading.Lock()

    def begin(self, position: int) -> None:
        """Record that the restore point at `position` of the task is verified next."""
        self._what = f"restore point {position + 1} of {len(self._points)} ({self._points[position].backup})"
        self.expect(0)

    def expect(self, count: int) -> None:
        """Record that `count` bytes of the current disk have to be read."""
        with self._lock:
            self._total, self._begin = count, self.read_bytes

    def say(self, message: str) -> None:
        """Set the message of what is being done beside reading a restore point of the task."""
        self._what = message
        self.expect(0)

    def before(self, length: int) -> None:
        """Wait until `length` bytes may be read. Called by the readers' threads."""
        self.limit.take(length)

    def after(self, length: int) -> None:
        """Count bytes that were read. Called by the readers' threads."""
        with self._lock:
            self.read_bytes += length

    def progress(self) -> Progress:
        """Return the progress for the status port."""
        with self._lock:
            done = self.read_bytes - self._begin
            percent = f", {min(100, done * 100 // self._total)}% read" if self._total else ""
        return Progress(
            job_id=self._job_id,
            stage=Stage.VERIFYING,
            started=self.started,
            disks=(),
            message=f"{self._what}{percent}",
        )
