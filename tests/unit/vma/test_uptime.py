import pytest

from sendense_operator.vma.models import Health
from sendense_operator.vma.uptime import parse_uptime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("5.25s", 5.25),
        ("1m2.5s", 62.5),
        ("72h3m0.5s", 259380.5),
        ("450ms", 0.45),
        ("1.5µs", 1.5e-6),
        ("12ns", 12e-9),
        ("2d 4h", 187200.0),
        (" 1H 2M 3S ", 3723.0),
        ("17", 17.0),
        ("17.5", 17.5),
        ("", None),
        (None, None),
        ("soon", None),
        ("5 parsecs", None),
        ("-5s", None),
        ("5s and more", None),
        ("h", None),
        ("nan", None),
        ("9" * 400, None),
    ],
)
def test_parse(text: str | None, seconds: float | None) -> None:
    assert parse_uptime(text) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "uptime"),
    [
        ({}, ""),
        ({"uptime": "1h2m"}, "1h2m"),
        ({"uptime": 5}, "5"),
        ({"uptime": 5.5}, "5.5"),
        ({"uptime": None}, ""),
        ({"uptime": True}, ""),
        ({"uptime": {"seconds": 5}}, ""),
        ({"uptime": "x" * 9999}, "x" * 256),
    ],
)
def test_an_odd_uptime_is_no_reason_to_call_an_appliance_sick(body: dict[str, object], uptime: str) -> None:
    assert Health.model_validate({"status": "healthy", **body}).uptime == uptime
