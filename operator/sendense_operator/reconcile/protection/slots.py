"""Which slot of a schedule is to be run, and when each VM's turn in it is. Pure.

A slot is a time that the cron expression names, in UTC. What was run is remembered in the policy's status, so that it
survives the controller; that a slot's Backups have its time in their names keeps what is repeated from running twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1.backuppolicy import CatchUp, Schedule, ScheduleStatus
from sendense_operator.reconcile.protection.cron import last_time, next_time
from sendense_operator.reconcile.protection.time_zones import parse_zone

LATE: Final = timedelta(minutes=5)
"""A slot that is noticed later was missed."""
_WRONG_CLOCK: Final = timedelta(hours=25)
"""A remembered time so far ahead was written by a wrong clock: without this the schedule would stop until then."""


@dataclass(frozen=True)
class Advanced:
    """A schedule as of now."""

    status: ScheduleStatus
    missed: datetime | None = None
    """A slot that was left out, since it was noticed too late."""


def advance(
    schedule: Schedule,
    old: ScheduleStatus | None,
    *,
    begin: datetime,
    suspended: bool,
    catch_up: CatchUp,
    now: datetime,
) -> Advanced:
    """Return the state of a schedule. Raises InvalidScheduleError.

    `begin`: since when a schedule counts that has no state yet. One that was changed, suspended or resumed begins now.
    """
    zone = parse_zone(schedule.time_zone)
    upcoming = next_time(schedule.cron, zone, now)
    definition = f"{schedule.cron} {schedule.time_zone}"
    suspended = suspended or schedule.suspend
    state = old.model_copy() if old is not None else ScheduleStatus(name=schedule.name, since=begin)
    if old is not None and (suspended or _begins_anew(old, definition, now)):
        state.since, state.open = now, False
    state.definition, state.suspended = definition, suspended
    state.next_time = None if suspended else upcoming
    slot = None if suspended else last_time(schedule.cron, zone, now)
    if slot is None or slot <= state.since:
        return Advanced(state)
    state.since = slot
    late = now - slot > LATE
    if late and catch_up is CatchUp.SKIP:
        state.open = False
        return Advanced(state, missed=slot)
    # What is made up for is spread like any other run: else a pause would end with all Backups at once.
    state.slot, state.started, state.open = slot, now if late else slot, True
    return Advanced(state)


def _begins_anew(old: ScheduleStatus, definition: str, now: datetime) -> bool:
    return old.suspended or old.definition != definition or old.since > now + _WRONG_CLOCK


def offsets(vms: Iterable[str], seed: str, jitter: timedelta) -> Iterator[tuple[str, timedelta]]:
    """Yield each VM with its place in the slot, the earliest first: spread evenly, in an order that the seed decides.

    The same VMs get the same offsets; the VMs of two policies that differ in `seed` do not meet.
    """
    ordered = sorted(vms, key=lambda vm: hashlib.sha256(f"{seed}\0{vm}".encode()).digest())
    for rank, vm in enumerate(ordered):
        yield vm, jitter * rank / len(ordered)


def window(state: ScheduleStatus, jitter: timedelta) -> timedelta:
    """Return over how much time the Backups of the open slot are spread: they are all created before the next one."""
    if state.next_time is None or state.started is None:
        return jitter
    return max(min(jitter, state.next_time - state.started), timedelta())
