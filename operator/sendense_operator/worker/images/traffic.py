"""What came in over the exports, summed up from looks at their connections. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sendense_operator.worker.images.nbd_connections import END_OF_STREAM, Connection

RATE_WINDOW: Final = 30.0
"""Seconds that a rate is averaged over."""

_LEAST_WRITE: Final = 540
"""Header and payload of the smallest write, in bytes: a connection that brought less has written nothing."""


@dataclass
class PortTraffic:
    """Bytes and connections of one export.

    `received_bytes` is a lower bound: exact once the kernel has reported the end of all connections.
    """

    by_connection: dict[int, int] = field(default_factory=dict)
    """Most bytes seen of each connection that ever was. Kept after its end: a check can miss a connection that is
    just closing, and the kernel's last word on it comes later."""
    connections: int = 0
    first_connected: float | None = None
    last_connected: float | None = None
    allocated: int = 0

    @property
    def received_bytes(self) -> int:
        """Bytes so far, never falling."""
        return sum(self.by_connection.values())


class Traffic:
    """All exports'. Where the kernel tells no bytes, `known` is False and the images' growth takes their place."""

    def __init__(self, ports: Iterable[int]) -> None:
        self.ports: dict[int, PortTraffic] = {port: PortTraffic() for port in ports}
        self.known = True
        self.last_bytes: float | None = None
        self._total = 0

    def add_sample(self, now: float, found: Iterable[Connection], allocated: Mapping[int, int]) -> None:
        """One look; `allocated`: bytes allocated by each port's image, needed when `known` is False."""
        by_port: dict[int, list[Connection]] = {port: [] for port in self.ports}
        for item in found:
            if item.port in by_port:
                by_port[item.port].append(item)
        for port, state in self.ports.items():
            _look_at_port(state, now, by_port[port])
            state.allocated = max(state.allocated, allocated.get(port, 0))
        total = sum(self.bytes_of(port) for port in self.ports)
        if total > self._total:
            self._total, self.last_bytes = total, now

    def bytes_of(self, port: int) -> int:
        """Return the bytes that went into one export, as well as it is known."""
        state = self.ports[port]
        return state.received_bytes if self.known else state.allocated

    def received_bytes(self, port: int) -> int | None:
        """Return the bytes of one export's connections that may have written, None where the kernel doesn't tell.

        Health checks that say a little, again and again for hours, would else add up to writes that nobody made.
        """
        if not self.known:
            return None
        return sum(count for count in self.ports[port].by_connection.values() if count >= _LEAST_WRITE)

    @property
    def connections(self) -> int:
        """Established connections of all exports."""
        return sum(state.connections for state in self.ports.values())

    @property
    def connected(self) -> bool:
        """Whether any export ever had a connection."""
        return any(state.first_connected is not None for state in self.ports.values())


def _look_at_port(state: PortTraffic, now: float, found: list[Connection]) -> None:
    there: dict[int, int] = {}
    for item in found:
        there[item.cookie] = max(_payload(item), there.get(item.cookie, 0))
    for cookie, received_bytes in there.items():
        state.by_connection[cookie] = max(received_bytes, state.by_connection.get(cookie, 0))
    # A client has to speak before it is served: one that said nothing yet is a port scan or a tunnel's health check.
    state.connections = sum(item.established and item.received_bytes != 0 for item in found)
    # One that came and went between two checks counts too, if it said anything: our own probes don't.
    if state.connections or any(there.values()):
        state.first_connected = now if state.first_connected is None else state.first_connected
        state.last_connected = now


def _payload(item: Connection) -> int:
    """Return the bytes that the other side sent, as far as known; one less where its end is not among them."""
    received_bytes = item.received_bytes or 0
    return received_bytes if item.established else max(0, received_bytes - END_OF_STREAM)


class RateMeter:
    """Bytes a second over the last RATE_WINDOW seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> None:
        """`total` bytes have been moved by `now`; calls less than a second apart are merged."""
        if len(self._points) > 1 and now - self._points[-2][0] < 1.0:
            self._points.pop()
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_WINDOW:
            self._points.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second, 0.0 before there are two points."""
        if len(self._points) < 2:
            return 0.0
        (since, first), (now, last) = self._points[0], self._points[-1]
        return (last - first) / (now - since) if now > since else 0.0


def eta_seconds(left: int, rate: float) -> int | None:
    """Return whole seconds until `left` bytes are moved, None when nothing moves."""
    return None if rate <= 0 else int(left / rate + 0.999)
