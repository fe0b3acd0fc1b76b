"""The end of the window in which a restore point is immutable. Pure; whoever only shows it needs no manifest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def retained_until(committed: datetime, own: datetime | None, days: int | None) -> datetime | None:
    """Return until when a restore point is immutable; None: it is not.

    `committed`: when it was committed; `own`: the time that its manifest has; `days`: `spec.immutability.days` now.
    """
    by_days = later(_aware(committed), days) if days is not None else None
    return max((time for time in (own, by_days) if time is not None), default=None)


def later(start: datetime, days: int) -> datetime:
    """Return the time `days` days after `start`; the end of all time if there is none."""
    try:
        return start + timedelta(days=days)
    except OverflowError:
        return _END_OF_TIME


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
