"""Release of the VMA's client after an unsuccessful attempt, and description of what it leaves (vma-contract 5.4).

There is no call that cancels a job. The client of a full ends by itself once its export is closed. The client of an
increment would hang forever then, and keep its snapshot: therefore its export stays open until it has written the rest
of its disk, and its completion call is answered 410.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sendense_operator.logs import get_logger
from sendense_operator.vma.stall_clocks import is_stuck
from sendense_operator.worker.vma_job.attempt_state import JobState

log = get_logger(__name__)

_CHECK_SECONDS: Final = 0.25
_TERM_LIMIT: Final = 20.0
"""Longest wait after SIGTERM, in seconds; the pod's grace period has to be enough for the other steps, too."""
_IDLE_SECONDS: Final = 30.0
"""Seconds without a byte on any export after which the wait ends."""


async def let_increment_end(state: JobState, limit: float, must_stop: Callable[[], bool]) -> None:
    """Wait until the client of an increment has no connection any more, sends nothing more, or must stop.

    It must stop after `limit` seconds, shortly after SIGTERM, and when `must_stop` (called in a thread) returns True.
    """
    log.info("the VMA is copying an increment: its export stays open while data arrives", limit_s=limit)
    state.message = (
        "the appliance's client is copying an increment and would hang if its export were closed: "
        f"it may write the rest of its disk for up to {limit:.0f} s"
    )
    began = time.monotonic()
    while True:
        state.sample()
        now = time.monotonic()
        terminated = state.stopping.terminated_at
        deadline = began + limit if terminated is None else min(began + limit, max(began, terminated) + _TERM_LIMIT)
        idle = now - max(began, state.traffic.last_bytes or began) > _IDLE_SECONDS
        if not state.traffic.connections or idle or now >= deadline or await asyncio.to_thread(must_stop):
            return
        await asyncio.sleep(_CHECK_SECONDS)


def has_ended(state: JobState) -> bool:
    """Return whether the client received a 410 and has closed all connections, so that it ends by itself."""
    return state.callbacks.client_released and not state.traffic.connections


async def await_end(state: JobState, limit: float) -> None:
    """Wait up to `limit` seconds for the client to end after the exports were closed; determine whether it hangs."""
    wait = min(limit, _TERM_LIMIT)
    log.info("waiting for the VMA's client to end", wait_s=wait)
    closed = time.monotonic()
    while time.monotonic() < closed + wait:
        if state.callbacks.client_released:
            return
        await asyncio.sleep(min(_CHECK_SECONDS, wait))
    connected = state.traffic.connected
    state.stuck_client = is_stuck(closed, wait, state.callbacks.last_telemetry, connected=connected)
    if state.stuck_client:
        log.warning("the VMA's client hangs: restart the appliance's service", job=state.job_id)


def describe_remains(state: JobState, *, cut_off: bool) -> str:
    """Return a message that says what is left on the appliance and in vCenter.

    `cut_off`: the export was closed while the client was copying an increment.
    """
    snapshot = "its snapshot (sbak-…) stays in vCenter until the VM's next backup starts"
    job = f"the appliance's client of job {state.job_id}"
    if state.stuck_client:
        return f"{job} hangs: restart the appliance's service to free it; {snapshot}"
    if state.callbacks.client_released:
        return "the appliance's client has ended and removes its snapshot"
    if cut_off:
        return (
            f"{job} lost its export during an increment and may hang, although it sends no telemetry: check the "
            f"appliance's processes; if it hangs, {snapshot}"
        )
    if state.traffic.connected:
        return "the appliance's client lost its export, ends by itself and removes its snapshot"
    return (
        "the appliance's client had not connected yet: it finds no export and ends by itself; if it leaves a snapshot "
        "(sbak-…), the VM's next backup removes it when it starts"
    )
