"""Who wants an attempt to end, and how much time is left for it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sendense_operator.logs import get_logger

log = get_logger(__name__)


class Stopping:
    """A request to end, by the controller (there is time) or by SIGTERM (there is not). The work is cancelled once."""

    def __init__(self) -> None:
        self.requested = False
        """The controller requested it: the pod lives on for as long as the attempt needs."""
        self.terminated_at: float | None = None
        """Monotonic time of the first SIGTERM: the pod is killed after its grace period."""
        self._work: asyncio.Task[Any] | None = None
        self._cancelled = False

    def ends(self, work: asyncio.Task[Any]) -> None:
        """`work` is what a request cancels."""
        self._work = work

    def request(self) -> None:
        """End the attempt; it may take the time that the VMA's client needs."""
        if not self.requested:
            log.info("cancelling on request")
        self.requested = True
        self._cancel()

    def terminate(self) -> None:
        """End the attempt soon. A second SIGTERM must not cut that short."""
        if self.terminated_at is None:
            log.info("terminated: cancelling")
            self.terminated_at = time.monotonic()
        self._cancel()

    def _cancel(self) -> None:
        if self._work is not None and not self._cancelled:
            self._cancelled = True
            self._work.cancel()
