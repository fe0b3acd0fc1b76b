"""Numbers and times as people and Kubernetes read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.formatting import (
    human_bytes,
    human_duration,
    human_rate,
    parse_time,
    whole_seconds,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (99 << 20, "99.0 MiB"),
        (180 << 20, "180 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 50, "5000 PiB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


@given(st.integers(0, 1 << 53))
def test_bytes_stay_short(count: int) -> None:
    number, unit = human_bytes(count).split()
    assert len(number) <= 4
    assert unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@pytest.mark.parametrize(("rate", "text"), [(0, ""), (0.4, ""), (1, "1 B/s"), (180 << 20, "180 MiB/s")])
def test_rate(rate: float, text: str) -> None:
    assert human_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (89.9, "89s"), (90, "2m"), (720, "12m"), (5399, "90m"), (12000, "3h20m"), (187200, "2d4h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_times() -> None:
    noon = datetime(2025, 10, 5, 12, tzinfo=UTC)
    assert parse_time(None) is None
    assert parse_time("2025-10-05T12:00:00Z") == noon
    assert parse_time("2025-10-05T12:00:00.250000Z") == noon + timedelta(milliseconds=250)
    assert whole_seconds(noon + timedelta(milliseconds=900)) == noon
    there = whole_seconds(noon.astimezone(timezone(timedelta(hours=2))))
    assert (there, there.utcoffset()) == (noon, timedelta(0))
