"""What of the host's firewall rules is the engine's own, to be undone after it."""

from __future__ import annotations

import pytest
from hack.devcluster.from_packages import hostnet

BEFORE = ["-P FORWARD ACCEPT", "-A FORWARD -i wg0 -j ACCEPT"]
AFTER = [
    "-P FORWARD DROP",
    "-N DOCKER",
    "-N DOCKER-USER",
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -o br-0123456789ab -j DOCKER",
    "-A FORWARD -i wg0 -j ACCEPT",
    "-A FORWARD -i tailscale0 -j ACCEPT",
    "-A DOCKER -d 172.29.0.3/32 -j ACCEPT",
]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (
            True,
            [
                "-D FORWARD -j DOCKER-USER",
                "-D FORWARD -o br-0123456789ab -j DOCKER",
                "-F DOCKER",
                "-F DOCKER-USER",
                "-X DOCKER",
                "-X DOCKER-USER",
                "-P FORWARD ACCEPT",
            ],
        ),
        (False, ["-D FORWARD -o br-0123456789ab -j DOCKER", "-D DOCKER -d 172.29.0.3/32 -j ACCEPT"]),
    ],
)
def test_only_the_engines_own_rules_are_undone(
    monkeypatch: pytest.MonkeyPatch, last: bool, expected: list[str]
) -> None:
    """`last`: no other engine runs, so that the chains which all share go too."""
    done: list[str] = []
    monkeypatch.setattr(hostnet, "attempt", lambda *command: done.append(" ".join(command[3:])))
    hostnet._undo_rules(["iptables", "-t", "filter"], AFTER, BEFORE, ("br-0123456789ab", "172.29."), last)
    assert done == expected
