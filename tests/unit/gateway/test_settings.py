import pytest

from sendense_operator.gateway.settings import Settings


def test_defaults() -> None:
    settings = Settings.from_environment({"PATH": "/bin", "SENDENSE_NAMESPACES": ""})
    assert (settings.namespaces, settings.listen_port, settings.hold_seconds) == ((), 8082, 60.0)
    assert settings.drain_seconds == 5.0


def test_all_set() -> None:
    settings = Settings.from_environment(
        {
            "SENDENSE_NAMESPACES": "shop, ,lab",
            "SENDENSE_LISTEN_PORT": "9000",
            "SENDENSE_HOLD_SECONDS": "2.5",
            "SENDENSE_DRAIN_SECONDS": "0",
            "SENDENSE_HELD_CALLS": "3",
            "SENDENSE_LOG_LEVEL": "DEBUG",
        }
    )
    assert settings.namespaces == ("shop", "lab")
    assert (settings.listen_port, settings.hold_seconds, settings.drain_seconds) == (9000, 2.5, 0.0)
    assert (settings.held_calls, settings.log_level) == (3, "DEBUG")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENDENSE_NAMESPACES", "a,../b"),
        ("SENDENSE_LISTEN_PORT", "0"),
        ("SENDENSE_LISTEN_PORT", "http"),
        ("SENDENSE_HOLD_SECONDS", "0"),
        ("SENDENSE_HOLD_SECONDS", "1e9"),
        ("SENDENSE_DRAIN_SECONDS", "-1"),
        ("SENDENSE_LOG_LEVEL", "LOUD"),
        ("SENDENSE_LOG_FORMAT", "yaml"),
    ],
)
def test_wrong_value_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.from_environment({name: value})
