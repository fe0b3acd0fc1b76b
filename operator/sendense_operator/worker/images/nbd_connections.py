"""TCP connections of the exports and their received bytes, as the kernel reports them.

NETLINK_SOCK_DIAG needs no privileges. A dump lists the present connections, and a multicast group reports the final
numbers of each connection that ends, so that no byte is missed. No library is used: it takes one request and one fixed
structure, and the kernel's errors matter. If netlink is refused, /proc/net/tcp still lists the connections, without
bytes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from sendense_operator.logs import get_logger

log = get_logger(__name__)

_NETLINK_SOCK_DIAG: Final = 4
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_DESTROY_GROUPS: Final = {socket.AF_INET: 1, socket.AF_INET6: 3}
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_INET_DIAG_INFO: Final = 2
_ESTABLISHED: Final = 1
# established, fin-wait 1 and 2, close-wait, last-ack, closing: every state in which bytes may have been received
_STATES: Final = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 9) | (1 << 11)
_BUFFER: Final = 1 << 20

_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")
_MESSAGE_BYTES: Final = 72
_PEER_AT: Final = 24
_COOKIE_AT: Final = 44
END_OF_STREAM: Final = 1
"""Bytes that the kernel counts for the end of a stream (FIN): a peer that sent nothing has this count after its end."""
_BYTES_RECEIVED_AT: Final = 128
"""Offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h), present since Linux 4.1."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a listening port: its present state, or its last state if it has ended.

    `received_bytes` is None if the kernel does not count them.
    """

    port: int
    cookie: int
    """Identity of the socket, unique until the machine reboots."""
    established: bool
    received_bytes: int | None
    peer: IPv4Address | IPv6Address | None = None
    """Address of the other side."""


class Connections:
    """Sampling of the connections of local ports; one sample takes about a millisecond."""

    def __init__(self, ports: Set[int], ipv6: bool) -> None:
        self._ports = ports
        self._family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._ended: socket.socket | None = None
        self.knows_bytes = True
        try:
            self._ended = _subscribe(self._family)
        except OSError as error:
            log.warning(
                "the kernel does not report ended connections; bytes since the last sample are lost", error=error
            )

    def sample(self) -> list[Connection]:
        """Return the connections that ended since the last sample, and those that exist now."""
        if self.knows_bytes:
            try:
                found = [*self._dump(), *self._just_ended()]
                return [item for item in found if item.port in self._ports]
            except (OSError, struct.error) as error:
                log.warning("the kernel does not report received bytes; the size of the layers is used", error=error)
                self.knows_bytes = False
        return [item for item in _from_proc(self._family) if item.port in self._ports]

    def close(self) -> None:
        """Close the netlink socket."""
        if self._ended is not None:
            self._ended.close()
            self._ended = None

    def _just_ended(self) -> Iterator[Connection]:
        while self._ended is not None:
            try:
                yield from _messages(self._ended.recv(_BUFFER))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some reports were dropped; earlier samples of them remain valid
                    raise

    def _dump(self) -> Iterator[Connection]:
        request = _REQUEST.pack(self._family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, _STATES)
        request += bytes(4 + 32 + 4) + b"\xff" * 8
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
            link.settimeout(1.0)
            length = _HEADER.size + len(request)
            link.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
            while True:
                data = link.recv(_BUFFER)
                yield from _messages(data)
                if _is_last(data):
                    return


def _subscribe(family: socket.AddressFamily) -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        link.bind((0, 0))
        link.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _DESTROY_GROUPS[family])
        link.setblocking(False)
    except OSError:
        link.close()
        raise
    return link


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, body) of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + size]
        at += max(_HEADER.size, (size + 3) & ~3)


def _is_last(data: bytes) -> bool:
    return any(kind == _NLMSG_DONE for kind, _ in _parts(data))


def _messages(data: bytes) -> Iterator[Connection]:
    for kind, body in _parts(data):
        if kind == _NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", body)[0], "NETLINK_SOCK_DIAG refused")
        if kind == _SOCK_DIAG_BY_FAMILY:
            yield parse_message(body)


def parse_message(body: bytes) -> Connection:
    """Return the connection in an `inet_diag_msg` with its attributes. Raises struct.error if it is too short."""
    port = struct.unpack_from(">H", body, 4)[0]
    cookie = struct.unpack_from("=Q", body, _COOKIE_AT)[0]
    received_bytes = None
    at = _MESSAGE_BYTES
    while at + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        if kind == _INET_DIAG_INFO and size >= 4 + _BYTES_RECEIVED_AT + 8:
            received_bytes = struct.unpack_from("=Q", body, at + 4 + _BYTES_RECEIVED_AT)[0]
        at += max(4, (size + 3) & ~3)
    size = 4 if body[0] == socket.AF_INET else 16
    peer = ip_address(body[_PEER_AT : _PEER_AT + size])
    return Connection(port, cookie, body[1] == _ESTABLISHED, received_bytes, peer)


def _from_proc(family: socket.AddressFamily) -> Iterator[Connection]:
    table = Path("/proc/self/net/tcp6" if family == socket.AF_INET6 else "/proc/self/net/tcp")
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and int(fields[3], 16) == _ESTABLISHED:
            peer = _peer_of(fields[2].rsplit(":", 1)[0])
            yield Connection(int(fields[1].rsplit(":", 1)[1], 16), int(fields[9]), True, None, peer)


def _peer_of(text: str) -> IPv4Address | IPv6Address:
    """Return the address in a field of /proc/net/tcp: 32-bit words in the machine's byte order."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    return ip_address(b"".join(struct.pack("=I", word) for word in words))
