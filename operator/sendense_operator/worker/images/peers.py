"""Who may be connected to an export: the appliance's networks, and this pod and its node. Pure but for `gateways`.

NBD has no password, and a NetworkPolicy is only as good as the network plug-in. As for a NetworkPolicy, the node that
the pod runs on is always let in: tunnels end there, and it is the node that reaches a pod of its own through a port
of the node. Beyond a Service with `externalTrafficPolicy: Local` or a host port, the address that the pod sees of
others is their own.
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
    """Return an IPv4-mapped IPv6 address as the IPv4 address that it is."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class Peers:
    """Recognises foreign peers by their addresses. Without any allowed network everybody is let in."""

    def __init__(self, allowed: Sequence[str], own: Iterable[str]) -> None:
        """Parse `allowed` networks (CIDR) and `own` addresses of the pod and its node. Raises ValueError."""
        self._networks = [ip_network(cidr, strict=False) for cidr in allowed]
        self._own = {plain(ip_address(text)) for text in own if text}

    def may_connect(self, address: Address) -> bool:
        """Return whether it is one of ours, or of the appliance's."""
        address = plain(address)
        if not self._networks or address in self._own:
            return True
        return any(address in network for network in self._networks)

    def find_foreign(self, found: Iterable[Connection]) -> Connection | None:
        """Return the first foreign connection. One that sent nothing was not served and does not count."""
        for item in found:
            nothing = 0 if item.established else END_OF_STREAM
            silent = item.received_bytes is not None and item.received_bytes <= nothing
            if item.peer is not None and not silent and not self.may_connect(item.peer):
                return item
        return None


def gateways(root: Path = Path("/proc/self/net")) -> list[str]:
    """Return addresses of the pod's default gateways: the node's own face on the pod's network."""
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
