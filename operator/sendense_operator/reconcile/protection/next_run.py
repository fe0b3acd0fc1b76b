"""When a policy runs next. Pure."""

from __future__ import annotations

from datetime import datetime

from sendense_operator.reconcile.protection.cron import next_time
from sendense_operator.reconcile.protection.selection import PolicyEntry
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError, parse_zone


def next_run(policy: PolicyEntry, now: datetime) -> datetime | None:
    """Return the next slot of all schedules that run; those that can't be read are reported by the policy's check."""
    slots = list[datetime]()
    for schedule in policy.schedules:
        if policy.suspended or schedule.suspend:
            continue
        try:
            slot = next_time(schedule.cron, parse_zone(schedule.time_zone), now)
        except InvalidScheduleError:
            continue
        if slot is not None:
            slots.append(slot)
    return min(slots, default=None)
