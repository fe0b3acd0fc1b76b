"""The network that our own engine gets."""

from __future__ import annotations

import pytest
from hack.devcluster.from_packages import dockerd
from hack.devcluster.shell import SetupError


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("default via 10.0.0.1 dev eth0\n", "172.29.0.0/16"),
        ("172.29.1.0/24 dev br-1 proto kernel\nunreachable 10.96.0.0/16\n", "172.30.0.0/16"),
        ("172.16.0.0/12 via 10.0.0.1\n", "no free network"),
    ],
)
def test_a_network_that_nobody_has(monkeypatch: pytest.MonkeyPatch, routes: str, expected: str) -> None:
    done = type("Done", (), {"stdout": routes})
    monkeypatch.setattr(dockerd, "attempt", lambda *_: done)
    try:
        got = dockerd._free_subnet()
    except SetupError as error:
        got = str(error)
    assert expected in got
