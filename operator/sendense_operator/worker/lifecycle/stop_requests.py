"""Requests to end an attempt early, and the time that is left for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from sendense_operator.logs import get_logger

log = get_logger(__name__)

_T = TypeVar("_T")


class Stopping:
    """Requests to end the attempt: by the controller, or by SIGTERM. The work is cancelled once."""

    def __init__(self) -> None:
        self.requested = False
        """Whether the controller requested it; the pod then runs for as long as the attempt needs to end."""
        self.terminated_at: float | None = None
        """Monotonic time of the first SIGTERM; the pod is killed after its grace period."""
        self._work: asyncio.Task[Any] | None = None
        self._cancelled = False

    def ends(self, work: asyncio.Task[Any]) -> None:
        """Set the task that a request cancels."""
        self._work = work

    def request(self) -> None:
        """End the attempt as the controller requests; it may take the time that the VMA's client needs."""
        if not self.requested:
            log.info("cancelling: requested by the controller")
        self.requested = True
        self._cancel()

    def terminate(self) -> None:
        """End the attempt before the pod's grace period ends. A second SIGTERM does not cut that short."""
        if self.terminated_at is None:
            log.info("cancelling: received a termination signal")
            self.terminated_at = time.monotonic()
        self._cancel()

    def _cancel(self) -> None:
        if self._work is not None and not self._cancelled:
            self._cancelled = True
            self._work.cancel()


async def run_to_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` to its end and return its result; a cancellation of the caller meanwhile is ignored."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        log.info("cancelled during a step that must be completed first")
        return await task
