"""Times of a cron expression in a time zone. The only module that knows the library."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError

_MINUTE: Final = timedelta(minutes=1)
_CHANGE: Final = timedelta(hours=3)
"""More than any change of a zone's offset."""


def next_time(cron: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Return the first time (UTC) after `after`; None: the expression never comes true. Raises InvalidScheduleError.

    At the change to daylight saving time a time of day that does not exist comes right after the gap; one that exists
    twice comes once. Expressions of each hour or minute follow elapsed time. So does Debian's cron.
    """
    return _first(cron, after.astimezone(zone), lambda found: found > after, reverse=False)


def last_time(cron: str, zone: tzinfo, until: datetime) -> datetime | None:
    """Return the newest time (UTC) up to `until`, itself included. None and errors: see `next_time`."""
    start = until + _MINUTE  # the library leaves out where it begins
    if (until - _CHANGE).astimezone(zone).utcoffset() != (until + _CHANGE).astimezone(zone).utcoffset():
        start += _CHANGE  # it searches by local time, which does not grow with time there
    return _first(cron, start.astimezone(zone), lambda found: found <= until, reverse=True)


def _first(cron: str, start: datetime, fits: Callable[[datetime], bool], *, reverse: bool) -> datetime | None:
    try:
        times = (found.astimezone(UTC) for found in CronSim(cron, start, reverse=reverse))
        return next(filter(fits, times), None)
    except CronSimError as error:
        raise InvalidScheduleError(f"cron {cron!r}: {error}") from error
