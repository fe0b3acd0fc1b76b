"""Who may be on an export, by address."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from sendense_operator.worker.images.nbd_connections import Connection
from sendense_operator.worker.images.peers import Peers, gateways

OWN = ("10.244.1.7", "172.18.0.3", "", "10.244.1.1")


def connection(peer: str, received_bytes: int | None = 100, *, established: bool = True) -> Connection:
    return Connection(10809, 1, established, received_bytes, ip_address(peer))


@pytest.mark.parametrize(
    ("allowed", "peer", "may"),
    [
        ([], "203.0.113.9", True),
        (["192.0.2.10/32"], "192.0.2.10", True),
        (["192.0.2.10/32"], "192.0.2.11", False),
        (["192.0.2.99/24"], "192.0.2.1", True),
        (["192.0.2.10/32"], "::ffff:192.0.2.10", True),
        (["192.0.2.10/32"], "::ffff:192.0.2.11", False),
        (["192.0.2.10/32", "fd00::/8"], "fd00::1", True),
        (["192.0.2.10/32"], "2001:db8::1", False),
        (["0.0.0.0/0"], "203.0.113.9", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["0.0.0.0/0", "::/0"], "2001:db8::1", True),
        (["192.0.2.10/32"], "10.244.1.7", True),
        (["192.0.2.10/32"], "172.18.0.3", True),
        (["192.0.2.10/32"], "::ffff:172.18.0.3", True),
        (["192.0.2.10/32"], "10.244.1.1", True),
        (["192.0.2.10/32"], "10.244.1.8", False),
    ],
)
def test_who_may_connect(allowed: list[str], peer: str, may: bool) -> None:
    assert (Peers(allowed, OWN).find_foreign([connection(peer)]) is None) is may


@pytest.mark.parametrize(
    ("received_bytes", "established", "counts"),
    [(0, True, False), (1, True, True), (1, False, False), (2, False, True), (None, True, True)],
)
def test_one_that_says_nothing_is_a_probe(received_bytes: int | None, established: bool, counts: bool) -> None:
    found = [connection("203.0.113.9", received_bytes, established=established)]
    assert (Peers(["192.0.2.10/32"], OWN).find_foreign(found) is not None) is counts


def test_the_default_gateways(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0001F40A\t0101F40A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    (tmp_path / "ipv6_route").write_text(
        f"{'0' * 32} 00 {'0' * 32} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
    )
    assert gateways(tmp_path) == ["10.244.1.1", "fd00::1"]
    assert gateways(tmp_path / "none") == []
