"""Until when restore points are immutable, whatever the clocks and the spec say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chain.test_manifest import manifest

from sendense_operator.chain.immutability import (
    LONGEST_ATTEMPT,
    ImmutabilityRule,
    is_retained,
    retained_layers,
    trusted_now,
    until_of_commit,
)
from sendense_operator.chain.immutable_window import retained_until
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import MAX_IMMUTABLE_DAYS, Immutability

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
DAYS = st.integers(1, MAX_IMMUTABLE_DAYS)


def committed(until: datetime | None = None, finished: datetime = AT) -> Manifest:
    return Manifest.from_json(manifest(started=finished, finished=finished, retain_until=until).to_json())


def test_the_window_begins_at_the_commit() -> None:
    task = Immutability(now=AT, days=7)
    assert until_of_commit(task, 3 * HOUR, AT + 4 * HOUR) == AT + 4 * HOUR + 7 * DAY
    assert until_of_commit(None, 3 * HOUR, AT) is None
    assert until_of_commit(Immutability(now=AT), 3 * HOUR, AT) is None


@given(TIMES, DAYS, st.timedeltas(timedelta(0), 30 * DAY))
def test_no_clock_of_a_pod_shortens_a_window_or_lengthens_it_for_long(
    clock: datetime, days: int, elapsed: timedelta
) -> None:
    until = until_of_commit(Immutability(now=AT, days=days), elapsed, clock)
    assert until is not None
    assert until.microsecond == 0
    shortest = AT + elapsed + timedelta(days=days)
    assert shortest <= until <= shortest + LONGEST_ATTEMPT + timedelta(seconds=1)


@given(TIMES, TIMES, DAYS)
def test_neither_clock_ends_a_window_alone(server: datetime, clock: datetime, days: int) -> None:
    until = AT + timedelta(days=days)
    now = trusted_now(Immutability(now=server), clock)
    assert now is not None
    assert is_retained(committed(until), now, None) == (server < until or clock < until)


@given(TIMES, DAYS, st.none() | DAYS, st.none() | DAYS)
def test_no_edit_shortens_what_a_manifest_says(
    now: datetime, made_with: int, before: int | None, days: int | None
) -> None:
    one = committed(AT + timedelta(days=made_with))
    if now < AT + timedelta(days=made_with):
        assert is_retained(one, now, before)
        assert is_retained(one, now, days)
    if before is not None and (days or 0) >= before:
        assert is_retained(one, now, days) >= is_retained(one, now, before), "longer days keep at least as long"


@pytest.mark.parametrize(
    ("own", "days", "until"),
    [
        (None, None, None),
        (AT + DAY, None, AT + DAY),
        (None, 2, AT + 2 * DAY),
        (AT + DAY, 2, AT + 2 * DAY),
        (AT + 3 * DAY, 2, AT + 3 * DAY),
    ],
)
def test_the_later_time_counts(own: datetime | None, days: int | None, until: datetime | None) -> None:
    assert retained_until(AT, own, days) == until
    assert is_retained(committed(own), AT, days) == (until is not None)
    assert not is_retained(committed(own), until or AT, days), "it ends at its time"


def test_without_a_known_time_every_window_is_open() -> None:
    assert trusted_now(None, AT) is None
    assert is_retained(committed(AT), None, None)
    assert not is_retained(committed(), None, None)


def test_a_time_beyond_the_calendar_is_its_end() -> None:
    end = datetime(9999, 12, 31, tzinfo=UTC)
    assert retained_until(end, None, MAX_IMMUTABLE_DAYS) == datetime.max.replace(tzinfo=UTC)
    assert retained_until(end.replace(tzinfo=None), None, 1) == datetime.max.replace(tzinfo=UTC)


def test_the_layers_of_immutable_points() -> None:
    file = manifest().disks[0].file
    assert retained_layers([committed(AT)], ImmutabilityRule(AT - HOUR)) == {file}
    assert retained_layers([committed(AT), committed()], ImmutabilityRule(AT)) == set()


def test_the_time_is_optional_in_a_manifest() -> None:
    assert b"retainUntil" not in manifest().to_json()
    assert b'"retainUntil": "2026-03-01T12:00:00Z"' in manifest(retain_until=AT).to_json()
    assert committed(AT).retain_until == AT
    assert committed().retain_until is None
