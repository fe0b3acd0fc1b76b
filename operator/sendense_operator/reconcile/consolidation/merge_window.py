"""The part of each day in which a consolidation may start by itself. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from sendense_operator.api.v1alpha1.chain_consolidation import ConsolidationWindow
from sendense_operator.reconcile.protection.time_zones import parse_zone


def seconds_until_open(window: ConsolidationWindow | None, now: datetime) -> float:
    """Return seconds until the window opens; 0: it is open, or there is none. Raises InvalidTimeZoneError."""
    if window is None:
        return 0.0
    local = now.astimezone(parse_zone(window.time_zone))
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    at = local.time()
    if start <= at < end if start < end else at >= start or at < end:
        return 0.0
    opening = local.replace(hour=start.hour, minute=start.minute, second=0, microsecond=0)
    if opening <= local:
        opening += timedelta(days=1)  # of the clock on the wall, however long that day is
    return max((opening.astimezone(UTC) - now).total_seconds(), 1.0)
