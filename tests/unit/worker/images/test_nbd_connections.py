"""On real sockets of this machine: what the kernel says is the point."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from tests.support.waiting import poll

from sendense_operator.worker.images.nbd_connections import Connection, Connections, parse_message


@contextlib.contextmanager
def pair(ipv6: bool) -> Iterator[tuple[int, socket.socket, socket.socket, Connections]]:
    family, host = (socket.AF_INET6, "::1") if ipv6 else (socket.AF_INET, "127.0.0.1")
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    port = listener.getsockname()[1]
    connections = Connections(frozenset({port}), ipv6)
    client = socket.create_connection((host, port))
    server, _ = listener.accept()
    with listener, client, server, contextlib.closing(connections):
        yield port, client, server, connections


def read(server: socket.socket, count: int) -> None:
    while count:
        count -= len(server.recv(min(count, 1 << 16)))


@pytest.mark.parametrize("ipv6", [False, True])
def test_bytes_of_a_live_and_of_an_ended_connection(ipv6: bool) -> None:
    with pair(ipv6) as (port, client, server, connections):
        if not connections.knows_bytes:
            pytest.skip("this kernel does not tell")
        client.sendall(b"x" * 100_000)
        read(server, 100_000)
        (seen,) = connections.sample()
        assert (seen.port, seen.established, seen.received_bytes) == (port, True, 100_000)
        assert str(seen.peer) == client.getsockname()[0]
        client.sendall(b"x" * 5_000)
        read(server, 5_000)
        client.close()
        server.close()
        found: list[Connection] = []

        def look() -> bool:
            found.extend(connections.sample())
            return bool(found)

        poll(look)
        assert found[-1].cookie == seen.cookie
        assert not found[-1].established
        assert found[-1].received_bytes in (105_000, 105_001)  # the end of a stream counts as a byte


def test_without_the_kernels_help_connections_are_counted() -> None:
    with pair(ipv6=False) as (port, _client, _server, connections):
        connections.knows_bytes = False
        (seen,) = connections.sample()
        assert (seen.port, seen.established, seen.received_bytes) == (port, True, None)
        assert str(seen.peer) == _client.getsockname()[0]


def test_a_refusing_kernel_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pair(ipv6=False) as (_port, _client, _server, connections):

        def refuse() -> Iterator[Connection]:
            raise PermissionError(1, "no")

        monkeypatch.setattr(connections, "_dump", refuse)
        assert [item.received_bytes for item in connections.sample()] == [None]
        assert not connections.knows_bytes


def test_a_message_without_numbers() -> None:
    body = bytearray(72)
    body[1] = 1
    struct.pack_into(">H", body, 4, 10809)
    struct.pack_into("=Q", body, 44, 77)
    assert parse_message(bytes(body)) == Connection(10809, 77, True, None, ip_address("::"))
    with pytest.raises(struct.error):
        parse_message(b"\0" * 8)
