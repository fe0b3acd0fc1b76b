"""Received bytes and connections per export, summed up from samples. No I/O; times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sendense_operator.worker.images.nbd_connections import END_OF_STREAM, Connection

RATE_WINDOW: Final = 30.0
"""Seconds over which a rate is averaged."""

_LEAST_WRITE: Final = 540
"""Header and payload of the smallest NBD write, in bytes: a connection with fewer bytes has written nothing."""


@dataclass
class PortTraffic:
    """Bytes and connections of one export.

    `received_bytes` is a lower bound: exact once the kernel has reported the end of all connections.
    """

    by_connection: dict[int, int] = field(default_factory=dict)
    """Largest byte count of each connection so far, by cookie. Kept after the connection's end: a sample can miss a
    connection that is closing, and the kernel reports its final count later."""
    connections: int = 0
    first_connected: float | None = None
    last_connected: float | None = None
    allocated: int = 0

    @property
    def received_bytes(self) -> int:
        """Bytes received so far; never decreases."""
        return sum(self.by_connection.values())


class Traffic:
    """Traffic of all exports.

    If the kernel does not count bytes, the caller sets `known` to False, and allocated bytes are used instead.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        self.ports: dict[int, PortTraffic] = {port: PortTraffic() for port in ports}
        self.known = True
        self.last_bytes: float | None = None
        self._total = 0

    def add_sample(self, now: float, found: Iterable[Connection], allocated: Mapping[int, int]) -> None:
        """Add a sample taken at `now`; `allocated`: bytes that each port's layer occupies, used if not `known`."""
        by_port: dict[int, list[Connection]] = {port: [] for port in self.ports}
        for item in found:
            if item.port in by_port:
                by_port[item.port].append(item)
        for port, state in self.ports.items():
            _update_port(state, now, by_port[port])
            state.allocated = max(state.allocated, allocated.get(port, 0))
        total = sum(self.bytes_of(port) for port in self.ports)
        if total > self._total:
            self._total, self.last_bytes = total, now

    def bytes_of(self, port: int) -> int:
        """Return the received bytes of one export, or the allocated bytes of its layer if those are not known."""
        state = self.ports[port]
        return state.received_bytes if self.known else state.allocated

    def received_bytes(self, port: int) -> int | None:
        """Return the received bytes of one export, None if not known; without connections too small for a write.

        Otherwise health checks that send a few bytes, repeated for hours, would add up to writes that never happened.
        """
        if not self.known:
            return None
        return sum(count for count in self.ports[port].by_connection.values() if count >= _LEAST_WRITE)

    @property
    def connections(self) -> int:
        """Number of established connections of all exports."""
        return sum(state.connections for state in self.ports.values())

    @property
    def connected(self) -> bool:
        """Whether any export ever had a connection."""
        return any(state.first_connected is not None for state in self.ports.values())


def _update_port(state: PortTraffic, now: float, found: list[Connection]) -> None:
    payloads: dict[int, int] = {}
    for item in found:
        payloads[item.cookie] = max(_payload(item), payloads.get(item.cookie, 0))
    for cookie, received_bytes in payloads.items():
        state.by_connection[cookie] = max(received_bytes, state.by_connection.get(cookie, 0))
    # An NBD client must send before it is served: one that has sent nothing is a port scan or a tunnel's health check.
    state.connections = sum(item.established and item.received_bytes != 0 for item in found)
    # A connection that began and ended between two samples counts, too, if it sent anything; the worker's probes don't.
    if state.connections or any(payloads.values()):
        state.first_connected = now if state.first_connected is None else state.first_connected
        state.last_connected = now


def _payload(item: Connection) -> int:
    """Return the bytes that the peer sent, as far as known: of an ended connection without the one that FIN counts."""
    received_bytes = item.received_bytes or 0
    return received_bytes if item.established else max(0, received_bytes - END_OF_STREAM)


class RateMeter:
    """Bytes per second over the last RATE_WINDOW seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> None:
        """Record that `total` bytes were received by `now`; calls less than a second apart are merged."""
        if len(self._points) > 1 and now - self._points[-2][0] < 1.0:
            self._points.pop()
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_WINDOW:
            self._points.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second; 0.0 before the second call of `add`."""
        if len(self._points) < 2:
            return 0.0
        (since, first), (now, last) = self._points[0], self._points[-1]
        return (last - first) / (now - since) if now > since else 0.0


def eta_seconds(remaining: int, rate: float) -> int | None:
    """Return the whole seconds until `remaining` bytes are received at `rate` bytes per second; None if that is 0."""
    return None if rate <= 0 else int(remaining / rate + 0.999)
