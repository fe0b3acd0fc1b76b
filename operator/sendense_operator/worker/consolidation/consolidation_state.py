"""State of a running consolidation: the run updates it, the status port reads it, and the answer is made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from sendense_operator.answer import Consolidated
from sendense_operator.consolidation_task import ConsolidationObstacle, ConsolidationTask
from sendense_operator.task import Progress, Stage
from sendense_operator.worker.images.rate_limit import RateLimit
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.settings import Settings


class ConsolidationState:
    """What was merged so far, and what is being merged; it is the Pace of the merges, too."""

    def __init__(self, task: ConsolidationTask, settings: Settings, stopping: Stopping) -> None:
        self.started = datetime.now(UTC)
        self.stopping = stopping
        self.limit = RateLimit(task.bytes_per_second)
        self.check: Callable[[], None] = lambda: None
        """Called before each chunk; raises to stop the merge."""
        self._job_id = settings.pod_uid
        self._done = Consolidated()
        self._message = ""
        self._total = self._passed = 0
        self._lock = threading.Lock()

    def begin(self, message: str, total: int) -> None:
        """Record that a merge begins that writes and reads back about `total` bytes."""
        with self._lock:
            self._message, self._total, self._passed = message, total, 0

    def say(self, message: str) -> None:
        """Set the message of what is being done beside merging."""
        self.begin(message, 0)

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be written. Called by threads."""
        self.limit.take(count)

    def before_chunk(self) -> None:
        """Raise to stop the merge. Called by threads."""
        self.check()

    def advance(self, count: int) -> None:
        """Count bytes that were written or read back. Called by threads."""
        with self._lock:
            self._passed += count

    def add(self, *, removed: int, written: int, freed: int) -> None:
        """Count a merge that has taken its place; sizes in bytes."""
        old = self._done
        self._done = Consolidated(
            merges=old.merges + 1,
            removed_layers=old.removed_layers + removed,
            written_bytes=old.written_bytes + written,
            freed_bytes=old.freed_bytes + freed,
        )

    def result(self, depth: int = 0, left: ConsolidationObstacle | None = None, message: str = "") -> Consolidated:
        """Return what was done, for the answer; `left`, `message`: what was not, and why."""
        done = self._done
        return Consolidated(
            merges=done.merges,
            removed_layers=done.removed_layers,
            written_bytes=done.written_bytes,
            freed_bytes=done.freed_bytes,
            depth=depth,
            left=left or "",
            message=message,
        )

    def progress(self) -> Progress:
        """Return the progress for the status port."""
        with self._lock:
            percent = f", {min(100, self._passed * 100 // self._total)}% done" if self._total else ""
            message = f"{self._message}{percent}"
        return Progress(job_id=self._job_id, stage=Stage.CONSOLIDATING, started=self.started, disks=(), message=message)
