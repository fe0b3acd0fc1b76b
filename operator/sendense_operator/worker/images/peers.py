"""Peers that may connect to an export: the appliance's networks, this pod and its node. I/O only in `gateways`.

NBD has no password, and not every network plug-in enforces NetworkPolicies. As in a NetworkPolicy, the node of the pod
is always allowed: tunnels end there, and it forwards traffic that arrives at a port of the node. Through a Service with
`externalTrafficPolicy: Local` or a host port, the pod sees the real address of any other peer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from sendense_operator.worker.images.nbd_connections import END_OF_STREAM, Connection

Address = IPv4Address | IPv6Address


def plain(address: Address) -> Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address; any other address unchanged."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class Peers:
    """Recognition of foreign peers by their addresses. Without any allowed network, every address is allowed."""

    def __init__(self, allowed: Sequence[str], own: Iterable[str]) -> None:
        """Parse `allowed` networks (CIDR) and `own` addresses of the pod and its node. Raises ValueError."""
        self._networks = [ip_network(cidr, strict=False) for cidr in allowed]
        self._own = {plain(ip_address(text)) for text in own if text}

    def may_connect(self, address: Address) -> bool:
        """Return whether the address belongs to the pod, its node or an allowed network."""
        address = plain(address)
        if not self._networks or address in self._own:
            return True
        return any(address in network for network in self._networks)

    def find_foreign(self, found: Iterable[Connection]) -> Connection | None:
        """Return the first connection of a foreign peer, None if there is none.

        A peer that sent nothing was not served and does not count.
        """
        for item in found:
            nothing = 0 if item.established else END_OF_STREAM
            silent = item.received_bytes is not None and item.received_bytes <= nothing
            if item.peer is not None and not silent and not self.may_connect(item.peer):
                return item
        return None


def gateways(root: Path = Path("/proc/self/net")) -> list[str]:
    """Return the addresses of the pod's default gateways, which are the node's addresses in the pod's network."""
    found = []
    for line in _lines(root / "route")[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000" and fields[2] != "00000000":
            found.append(socket.inet_ntoa(struct.pack("=I", int(fields[2], 16))))
    for line in _lines(root / "ipv6_route"):
        fields = line.split()
        if len(fields) > 4 and fields[0] == "0" * 32 and fields[1] == "00" and fields[4] != "0" * 32:
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[4])))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
