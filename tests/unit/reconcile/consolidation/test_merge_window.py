"""When a consolidation may start by itself: a part of each day in its own time zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sendense_operator.api.v1alpha1.chain_consolidation import ConsolidationWindow
from sendense_operator.reconcile.consolidation.merge_window import seconds_until_open
from sendense_operator.reconcile.protection.time_zones import InvalidTimeZoneError


def hours(start: str, end: str, now: str, zone: str = "UTC") -> float:
    window = ConsolidationWindow(start=start, end=end, time_zone=zone)
    return seconds_until_open(window, datetime.fromisoformat(now).replace(tzinfo=UTC)) / 3600


@pytest.mark.parametrize(
    ("start", "end", "now", "expected"),
    [
        ("08:00", "10:00", "2025-10-05T07:00", 1),
        ("08:00", "10:00", "2025-10-05T08:00", 0),
        ("08:00", "10:00", "2025-10-05T09:59", 0),
        ("08:00", "10:00", "2025-10-05T10:00", 22),
        ("22:00", "06:00", "2025-10-05T21:00", 1),
        ("22:00", "06:00", "2025-10-05T23:00", 0),
        ("22:00", "06:00", "2025-10-06T05:59", 0),
        ("22:00", "06:00", "2025-10-06T06:00", 16),
        ("23:30", "00:00", "2025-10-05T00:00", 23.5),
    ],
)
def test_hours_until_it_opens(start: str, end: str, now: str, expected: float) -> None:
    assert hours(start, end, now) == expected


def test_its_own_time_zone_counts() -> None:
    assert hours("22:00", "23:00", "2025-10-05T20:30", "Europe/Berlin") == 0
    assert hours("22:00", "23:00", "2025-10-05T19:00", "Europe/Berlin") == 1


def test_a_day_of_25_hours() -> None:
    assert hours("22:00", "23:00", "2025-10-25T21:30", "Europe/Berlin") == 23.5


def test_no_window_is_always_open() -> None:
    assert seconds_until_open(None, datetime(2025, 10, 5, tzinfo=UTC)) == 0


def test_a_zone_that_nobody_knows() -> None:
    with pytest.raises(InvalidTimeZoneError, match="Mars/Olympus"):
        hours("22:00", "23:00", "2025-10-05T20:30", "Mars/Olympus")
