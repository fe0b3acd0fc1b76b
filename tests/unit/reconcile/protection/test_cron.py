"""Times of cron expressions: both nights of daylight saving time, leap days, zones."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.reconcile.protection.cron import last_time, next_time
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError, InvalidTimeZoneError, parse_zone

BERLIN = parse_zone("Europe/Berlin")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def times(cron: str, zone: str, begin: str, end: str) -> list[datetime]:
    """All times of an expression between two moments."""
    found, at = list[datetime](), moment(begin)
    while (following := next_time(cron, parse_zone(zone), at)) is not None and following < moment(end):
        found.append(following)
        at = following
    return found


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "30 1 * * *", "0 3 * * *"])
def test_a_time_of_day_comes_once_each_day_of_a_year(zone: str, cron: str) -> None:
    found = times(cron, zone, "2026-01-01T00:00+00:00", "2027-01-01T00:00+00:00")
    assert len(found) == len(set(found)) == 365
    assert all(
        timedelta(hours=22, minutes=30) <= later - earlier <= timedelta(hours=25, minutes=30)
        for earlier, later in itertools.pairwise(found)
    )


def test_a_time_that_the_night_leaves_out_comes_right_after_the_gap() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00") == [
        moment("2026-03-29T03:00+02:00")
    ]


def test_a_time_that_the_night_has_twice_comes_once() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00") == [
        moment("2026-10-25T02:30+02:00")
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_an_hourly_one_follows_elapsed_time(day: str, hours: int) -> None:
    begin = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=BERLIN)
    end = (begin + timedelta(days=1)).replace(tzinfo=BERLIN)
    before = (begin.astimezone(UTC) - timedelta(seconds=1)).isoformat()
    assert len(times("0 * * * *", "Europe/Berlin", before, end.isoformat())) == hours


def test_the_29th_of_february() -> None:
    assert next_time("0 0 29 2 *", BERLIN, moment("2026-01-01T00:00+01:00")) == moment("2028-02-29T00:00+01:00")


CRONS = ["30 2 * * *", "15 * * * *", "*/20 * * * *", "0 4 * * 0", "0 0 1 * *", "59 23 * * *"]


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
    minutes=st.integers(0, 2 * 366 * 24 * 60) | st.integers(-300, 300).map(lambda near: 42900 * 10 + near),
)
def test_last_and_next_fit_together(cron: str, zone: str, minutes: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    last, following = last_time(cron, parse_zone(zone), at), next_time(cron, parse_zone(zone), at)
    assert last is not None
    assert following is not None
    assert last <= at < following
    assert next_time(cron, parse_zone(zone), last) == following
    assert last_time(cron, parse_zone(zone), following) == following


@pytest.mark.parametrize("minute", range(0, 240, 7))
@pytest.mark.parametrize("night", ["2026-03-29T00:00+01:00", "2026-10-25T00:00+02:00"])
def test_last_and_next_fit_together_in_nights_of_change(night: str, minute: int) -> None:
    at = moment(night).astimezone(UTC) + timedelta(minutes=minute)
    for cron in CRONS:
        last, following = last_time(cron, BERLIN, at), next_time(cron, BERLIN, at)
        assert last is not None
        assert last <= at
        assert next_time(cron, BERLIN, last) == following


@pytest.mark.parametrize("cron", ["61 * * * *", "* * *", "x * * * *", "0 0 31 2 *", "* * * * * *x"])
def test_says_what_is_wrong_with_an_expression(cron: str) -> None:
    with pytest.raises(InvalidScheduleError, match="cron"):
        next_time(cron, BERLIN, moment("2026-01-01T00:00+01:00"))


@pytest.mark.parametrize("zone", ["Europe/Berlim", "Mars/Phobos", "../etc/passwd", "Europe"])
def test_says_which_zone_there_is_not(zone: str) -> None:
    with pytest.raises(InvalidTimeZoneError, match="timeZone"):
        parse_zone(zone)
