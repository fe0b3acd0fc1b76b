"""Which restore points a retention keeps: by examples, and against a plain reference that is written differently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.backupchain import KeepRule
from sendense_operator.chain.retention import DatedPoint, RetentionRules, before, rules_that_keep

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
_FORMATS = {
    KeepRule.HOURLY: "%Y-%m-%d %H %z",
    KeepRule.DAILY: "%Y-%m-%d",
    KeepRule.WEEKLY: "%G-%V",
    KeepRule.MONTHLY: "%Y-%m",
    KeepRule.YEARLY: "%Y",
}


def rules(
    within: str = "", minimum: int = 1, zone: ZoneInfo = BERLIN, counts: dict[KeepRule, int] | None = None
) -> RetentionRules:
    return RetentionRules(counts or {}, within, minimum, zone)


def points(*hours_ago: float) -> list[DatedPoint]:
    """Return usable points, named by their age in hours."""
    return [DatedPoint(f"{hours:g}", NOON - timedelta(hours=hours), True) for hours in sorted(hours_ago, reverse=True)]


def kept(found: Sequence[DatedPoint], given_rules: RetentionRules) -> list[str]:
    return [name for name, why in rules_that_keep(found, given_rules).items() if why]


def test_the_newest_of_each_day_that_has_one() -> None:
    history = points(1, 2, 30, 31, 24 * 9, 24 * 30)
    assert kept(history, rules(counts={KeepRule.DAILY: 3})) == ["216", "30", "1"]


def test_each_rule_counts_on_its_own() -> None:
    history = points(1, 25, 49, 73)
    found = rules_that_keep(history, rules(counts={KeepRule.LAST: 1, KeepRule.DAILY: 2}))
    assert found == {"73": (), "49": (), "25": (KeepRule.DAILY,), "1": (KeepRule.LAST, KeepRule.DAILY)}


def test_days_begin_in_the_zone() -> None:
    # 23:30 and 00:30 in Berlin, both on the same day in UTC.
    history = [
        DatedPoint(name, datetime(2026, 1, 10, hour, 30, tzinfo=UTC), True) for name, hour in (("a", 22), ("b", 23))
    ]
    assert kept(history, rules(counts={KeepRule.DAILY: 2})) == ["a", "b"]
    assert kept(history, rules(zone=ZoneInfo("UTC"), counts={KeepRule.DAILY: 2})) == ["b"]


def test_an_hour_that_a_night_repeats_counts_twice() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    history = [DatedPoint("a", first, True), DatedPoint("b", first + timedelta(hours=1), True)]
    assert kept(history, rules(counts={KeepRule.HOURLY: 2})) == ["a", "b"]


def test_weeks_are_those_of_iso() -> None:
    """1 January 2027 is in week 53 of 2026, with the Monday before."""
    days = (
        datetime(2026, 12, 28, 3, tzinfo=UTC),
        datetime(2027, 1, 1, 3, tzinfo=UTC),
        datetime(2027, 1, 4, 3, tzinfo=UTC),
    )
    history = [DatedPoint(f"{day:%d}", day, True) for day in days]
    assert kept(history, rules(counts={KeepRule.WEEKLY: 9})) == ["01", "04"]


def test_ages_count_from_the_newest_point() -> None:
    """When backups stop, nothing expires: however long ago the newest was."""
    history = points(10_000, 10_000 + 47, 10_000 + 49)
    assert kept(history, rules("2d")) == ["10047", "10000"]


def test_a_damaged_point_takes_no_place() -> None:
    history = [*points(50, 49, 26), DatedPoint("damaged", NOON, False)]
    found = rules_that_keep(history, rules(counts={KeepRule.LAST: 2}))
    assert found == {"50": (), "49": (KeepRule.LAST,), "26": (KeepRule.LAST,), "damaged": (KeepRule.LAST,)}


def test_a_damaged_point_goes_when_it_would_if_it_were_sound() -> None:
    history = [DatedPoint("damaged", NOON - timedelta(days=9), False), *points(3, 2, 1)]
    assert kept(history, rules(counts={KeepRule.LAST: 2})) == ["2", "1"]


def test_the_last_sound_point_is_never_removed() -> None:
    history = [*points(24 * 900), *(DatedPoint(f"bad{n}", NOON + timedelta(days=n), False) for n in range(5))]
    assert "21600" in kept(history, rules("1h", counts={KeepRule.LAST: 1}))


@pytest.mark.parametrize(
    ("age", "wall"),
    [
        ("1m", "2026-02-28 14:00"),
        ("1y1m", "2025-02-28 14:00"),
        ("1m30d", "2026-01-29 14:00"),
        ("2w", "2026-03-17 14:00"),
        ("1d24h", "2026-03-29 14:00"),
        # Hours are elapsed time: clocks went forward on the 29th.
        ("60h", "2026-03-29 01:00"),
    ],
)
def test_before(age: str, wall: str) -> None:
    assert f"{before(NOON, age, BERLIN).astimezone(BERLIN):%Y-%m-%d %H:%M}" == wall


@pytest.mark.parametrize("age", ["9999y", "2025y9999w"])
def test_before_the_calendar(age: str) -> None:
    assert before(NOON, age, BERLIN) == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("age", ["", "0", "d", "1d1y", "1x", " 1d", "1d "])
def test_no_age(age: str) -> None:
    with pytest.raises(ValueError, match="such as 1y6m"):
        before(NOON, age, BERLIN)


def reference(history: Sequence[DatedPoint], given_rules: RetentionRules) -> set[str]:
    """Return what stays, from each point's own view: how many later periods of its kind have a point."""

    def stays(point: DatedPoint, all_points: Sequence[DatedPoint]) -> bool:
        later = all_points[[other.name for other in all_points].index(point.name) + 1 :]
        if len(later) < given_rules.minimum:
            return True
        if given_rules.within and point.time >= before(
            max(other.time for other in all_points), given_rules.within, given_rules.zone
        ):
            return True
        for rule, count in given_rules.counts.items():
            form = _FORMATS.get(rule)
            if form is None:
                if len(later) < count:
                    return True
                continue
            mine = point.time.astimezone(given_rules.zone).strftime(form)
            periods = {other.time.astimezone(given_rules.zone).strftime(form) for other in later}
            if mine not in periods and len(periods) < count:
                return True
        return False

    usable = [point for point in history if point.usable]
    return {p.name for p in history if stays(p, usable if p.usable else history)}


_COUNTS = st.dictionaries(st.sampled_from([KeepRule.LAST, *_FORMATS]), st.integers(1, 5), min_size=0)
_WITHIN = st.sampled_from(["", "", "6h", "3d", "2w", "1m", "1y2m3d"])


@st.composite
def histories(draw: st.DrawFn) -> list[DatedPoint]:
    """Return points over hours to years, some damaged, in the order of their commits."""
    gaps = draw(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 60), st.integers(0, 4000)), max_size=30))
    moments, at = [], datetime(2023, 10, 20, tzinfo=UTC)
    for gap in gaps:
        at += timedelta(hours=gap, minutes=7)
        moments.append(at)
    return [DatedPoint(f"p{n}", moment, draw(st.integers(0, 4)) > 0) for n, moment in enumerate(moments)]


@given(histories(), _COUNTS, _WITHIN, st.integers(1, 4), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]))
def test_against_the_reference(
    history: list[DatedPoint], counts: dict[KeepRule, int], within: str, minimum: int, zone: str
) -> None:
    given_rules = rules(within, minimum, ZoneInfo(zone), counts)
    stay = set(kept(history, given_rules))
    assert stay == reference(history, given_rules)
    usable = [point for point in history if point.usable]
    assert {point.name for point in usable[-minimum:]} <= stay
    # A second time, after the others have gone, nothing more goes.
    rest = [point for point in history if point.name in stay]
    assert set(kept(rest, given_rules)) == stay


@given(histories(), _COUNTS, _WITHIN, st.integers(1, 4))
def test_more_is_kept_with_larger_counts(
    history: list[DatedPoint], counts: dict[KeepRule, int], within: str, minimum: int
) -> None:
    steps = [rules(within, minimum + more, counts={rule: n + more for rule, n in counts.items()}) for more in range(3)]
    for fewer, more in pairwise(set(kept(history, step)) for step in steps):
        assert fewer <= more
