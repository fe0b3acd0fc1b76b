"""How a VMA's client is left behind when its job does not succeed, and what remains of it. See the VMA's contract.

There is no call that cancels a job. A client of a full ends by itself when its export is gone. One amid an increment
hangs for ever then, with its snapshot: it keeps its export until it has written the rest of its disk, and its next
call is answered 410.
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
"""Seconds after SIGTERM: the pod's grace period has to last for the rest, too."""
_IDLE_SECONDS: Final = 30.0
"""Without a byte on any export: nothing is gained by waiting longer."""


async def let_increment_end(state: JobState, limit: float, must_stop: Callable[[], bool]) -> None:
    """Return when the client has no connection any more, sends nothing, or may not go on.

    It may not go on after `limit` seconds, soon after SIGTERM, and when `must_stop` (called in a thread) says so.
    """
    log.info("the VMA is amid an increment: its export stays while data arrives", limit_s=limit)
    state.message = (
        "the appliance is amid an increment and would hang without its export: "
        f"it may write the rest of its disk for up to {limit:.0f} s"
    )
    began = time.monotonic()
    while True:
        state.look()
        now = time.monotonic()
        terminated = state.stopping.terminated_at
        deadline = began + limit if terminated is None else min(began + limit, max(began, terminated) + _TERM_LIMIT)
        idle = now - max(began, state.traffic.last_bytes or began) > _IDLE_SECONDS
        if not state.traffic.connections or idle or now >= deadline or await asyncio.to_thread(must_stop):
            return
        await asyncio.sleep(_CHECK_SECONDS)


def has_ended(state: JobState) -> bool:
    """Return whether the client knows that its job is over and has closed all connections: it ends by itself."""
    return state.callbacks.told_gone and not state.traffic.connections


async def await_end(state: JobState, limit: float) -> None:
    """After the exports are gone: give the client `limit` seconds to notice, and see whether it hangs."""
    wait = min(limit, _TERM_LIMIT)
    log.info("giving the VMA's client time to notice", wait_s=wait)
    closed = time.monotonic()
    while time.monotonic() < closed + wait:
        if state.callbacks.told_gone:
            return
        await asyncio.sleep(min(_CHECK_SECONDS, wait))
    connected = state.traffic.connected
    state.stuck_client = is_stuck(closed, wait, state.callbacks.last_telemetry, connected=connected)
    if state.stuck_client:
        log.warning("the VMA's client hangs: restart the appliance's service", job=state.job_id)


def describe_left(state: JobState, *, cut_off: bool) -> str:
    """Return what is left on the appliance and in vCenter. `cut_off`: amid an increment its export was closed."""
    snapshot = "its snapshot (sbak-…) stays in vCenter until the VM's next backup starts"
    job = f"the appliance's client of job {state.job_id}"
    if state.stuck_client:
        return f"{job} hangs: restart the appliance's service to free it; {snapshot}"
    if state.callbacks.told_gone:
        return "the appliance's client has ended and removes its snapshot"
    if cut_off:
        return (
            f"{job} lost its export amid an increment and may hang, though it sends no telemetry: check the "
            f"appliance's processes; if it hangs, {snapshot}"
        )
    if state.traffic.connected:
        return "the appliance's client lost its export and ends by itself; it removes its snapshot then"
    return (
        "the appliance's client had not connected yet: it finds no export and ends by itself; if it leaves a snapshot "
        "(sbak-…), that goes when the VM's next backup starts"
    )
