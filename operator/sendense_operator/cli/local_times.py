"""Times for people: local ones with their zone, ages, and what is still to come. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from sendense_operator.formatting import human_duration

NOTHING = "-"


def parse(value: object) -> datetime | None:
    """Return the time that an object has there; None for anything that is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def local(moment: datetime | None) -> str:
    """`2026-11-28 07:20 CET`; a dash for none."""
    return _in_zone(moment) if moment else NOTHING


def _in_zone(moment: datetime) -> str:
    try:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (OverflowError, OSError):  # a year that the system's zone does not know
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago it was: `3h20m`; a dash for none."""
    return human_duration(max(0.0, (now - moment).total_seconds())) if moment else NOTHING


def ahead(moment: datetime | None, now: datetime) -> str:
    """Return in how long it is: `in 3h20m`, `now` for what is due; a dash for none."""
    if moment is None:
        return NOTHING
    seconds = (moment - now).total_seconds()
    return f"in {human_duration(seconds)}" if seconds > 0 else "now"
