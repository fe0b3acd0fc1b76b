"""Settings from the environment: typed, and errors name the variable."""

from __future__ import annotations

import pytest

from sendense_operator.reconcile.state.settings import Settings

IMAGE = {"SENDENSE_WORKER_IMAGE": "image:1"}


def test_defaults() -> None:
    assert Settings.from_environment(IMAGE) == Settings(worker_image="image:1")


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("NAMESPACES", "a, b,,c", "namespaces", ("a", "b", "c")),
        ("NAMESPACES", '["a"]', "namespaces", ("a",)),
        ("NAMESPACES", "  ", "namespaces", ()),
        ("IMAGE_PULL_SECRETS", '["pull"]', "image_pull_secrets", ("pull",)),
        ("WORKER_RESOURCES", '{"limits": {"cpu": "1"}}', "worker_resources", {"limits": {"cpu": "1"}}),
        ("GATEWAY_SELECTOR", '{"app": "x"}', "gateway_selector", {"app": "x"}),
        ("NETWORK_POLICIES", "false", "network_policies", False),
        ("QUEUE_WORKERS", "3", "queue_workers", 3),
        ("NODE_LOST_SECONDS", "90", "node_lost_seconds", 90.0),
        ("CERTIFICATE_SECRET", "api-tls", "certificate_secret", "api-tls"),
        ("CERTIFICATE_NAMES", '["a.example", "2001:db8::1"]', "certificate_names", ("a.example", "2001:db8::1")),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("LOG_FORMAT", "json", "log_format", "json"),
        ("LOG_FORMAT", "", "log_format", None),
    ],
)
def test_values(name: str, text: str, field: str, value: object) -> None:
    settings = Settings.from_environment({**IMAGE, f"SENDENSE_{name}": text, "SENDENSE_UNKNOWN": "x", "PATH": "/bin"})
    assert getattr(settings, field) == value


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "SENDENSE_WORKER_IMAGE"),
        ({**IMAGE, "SENDENSE_QUEUE_WORKERS": "none"}, "SENDENSE_QUEUE_WORKERS"),
        ({**IMAGE, "SENDENSE_QUEUE_WORKERS": "0"}, "SENDENSE_QUEUE_WORKERS"),
        ({**IMAGE, "SENDENSE_WORKER_RESOURCES": "{"}, "SENDENSE_WORKER_RESOURCES"),
        ({**IMAGE, "SENDENSE_WORKER_RESOURCES": '{"limits": {"cpu": "fast"}}'}, "limits.cpu"),
        ({**IMAGE, "SENDENSE_WORKER_POD_TEMPLATE": "{"}, "SENDENSE_WORKER_POD_TEMPLATE"),
        ({**IMAGE, "SENDENSE_WORKER_POD_TEMPLATE": '{"labels": {"a": "b c"}}'}, "labels.a"),
        ({**IMAGE, "SENDENSE_WORKER_POD_TEMPLATE": '{"tolerations": [{"key": "a", "operators": "x"}]}'}, r"operators"),
        ({**IMAGE, "SENDENSE_WORKER_POD_TEMPLATE": '{"affinity": {"podAffinity": {"required": []}}}'}, "podAffinity"),
        ({**IMAGE, "SENDENSE_WORKER_POD_TEMPLATE": '{"priorityClassName": "low"}'}, "settings of their own"),
        ({**IMAGE, "SENDENSE_CERTIFICATE_NAMES": "a.example, b c"}, "b c"),
        ({**IMAGE, "SENDENSE_LOG_LEVEL": "LOUD"}, "SENDENSE_LOG_LEVEL"),
        ({**IMAGE, "SENDENSE_LOG_FORMAT": "yaml"}, "SENDENSE_LOG_FORMAT"),
        ({**IMAGE, "SENDENSE_IMAGE_PULL_POLICY": "Sometimes"}, "SENDENSE_IMAGE_PULL_POLICY"),
    ],
)
def test_errors_name_the_setting(env: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings.from_environment(env)
