"""IANA time zones by their names."""

from __future__ import annotations

from datetime import tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class InvalidScheduleError(ValueError):
    """A cron expression or its time zone can't be used; the message says why."""


class InvalidTimeZoneError(InvalidScheduleError):
    """There is no such zone; the message says so."""


def parse_zone(name: str) -> tzinfo:
    """Return an IANA time zone. Raises InvalidTimeZoneError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidTimeZoneError(
            f"timeZone {name}: there is no such IANA time zone (example: Europe/Berlin)"
        ) from None
