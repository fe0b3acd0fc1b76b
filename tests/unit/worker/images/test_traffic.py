import pytest

from sendense_operator.worker.images.nbd_connections import Connection
from sendense_operator.worker.images.traffic import RATE_WINDOW, RateMeter, Traffic, eta_seconds

A, B = 10809, 10810


def conn(cookie: int, received: int | None, port: int = A, established: bool = True) -> Connection:
    return Connection(port, cookie, established, received)


def test_bytes_of_ended_connections_stay() -> None:
    traffic = Traffic([A, B])
    traffic.add_sample(1.0, [conn(1, 100), conn(2, 5), conn(3, 7, B)], {})
    assert (traffic.bytes_of(A), traffic.bytes_of(B), traffic.connections) == (105, 7, 3)
    traffic.add_sample(2.0, [conn(2, 5)], {})
    assert (traffic.bytes_of(A), traffic.bytes_of(B), traffic.connections) == (105, 7, 1)
    traffic.add_sample(3.0, [conn(4, 50)], {})
    assert traffic.bytes_of(A) == 155
    assert traffic.last_bytes == 3.0


def test_the_last_word_on_a_connection_counts() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 100)], {})
    traffic.add_sample(2.0, [conn(1, 900, established=False)], {})
    assert traffic.connections == 0
    traffic.add_sample(3.0, [], {})
    assert traffic.received_bytes(A) == 899  # the end of a stream counts as a byte


def test_a_connection_that_a_look_missed_counts_once() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 100)], {})
    traffic.add_sample(2.0, [], {})
    traffic.add_sample(3.0, [conn(1, 100, established=False)], {})
    traffic.add_sample(4.0, [], {})
    assert traffic.bytes_of(A) == 100


def test_one_socket_seen_twice_in_a_look_counts_once() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 100), conn(1, 111, established=False)], {})
    assert traffic.bytes_of(A) == 110


def test_a_probe_brings_nothing() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 1, established=False), conn(2, 0), conn(3, 0, established=False)], {})
    traffic.add_sample(2.0, [conn(2, 1, established=False)], {})
    assert (traffic.received_bytes(A), traffic.last_bytes) == (0, None)


def test_health_checks_never_add_up_to_a_write() -> None:
    """Each says less than a handshake and the smallest write; the client's own two say more."""
    traffic = Traffic([A])
    for cookie in range(3600):
        traffic.add_sample(float(cookie), [conn(cookie, 120, established=False)], {})
    assert traffic.received_bytes(A) == 0
    traffic.add_sample(3600.0, [conn(5000, 300 + 28 + 512), conn(5001, 300)], {})
    assert traffic.received_bytes(A) == 840


def test_when_it_was_connected() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [], {})
    assert traffic.ports[A].first_connected is None
    assert not traffic.connected
    traffic.add_sample(2.0, [conn(1, 86)], {})
    traffic.add_sample(3.0, [conn(1, 86)], {})
    traffic.add_sample(4.0, [], {})
    assert (traffic.ports[A].first_connected, traffic.ports[A].last_connected) == (2.0, 3.0)
    assert traffic.connected


def test_one_that_says_nothing_is_no_client() -> None:
    """A port scanner, or the health check of a tunnel; where the kernel tells no bytes, any counts."""
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 0)], {})
    assert (traffic.connections, traffic.connected, traffic.last_bytes) == (0, False, None)
    traffic.add_sample(2.0, [conn(1, None)], {})
    assert (traffic.connections, traffic.connected) == (1, True)


def test_one_that_came_and_went_between_two_looks() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 1, established=False)], {})
    assert traffic.ports[A].first_connected is None
    traffic.add_sample(2.0, [conn(2, 86, established=False)], {})
    assert (traffic.ports[A].first_connected, traffic.connections) == (2.0, 0)


def test_images_are_measured_where_the_kernel_is_silent() -> None:
    traffic = Traffic([A])
    traffic.known = False
    traffic.add_sample(1.0, [Connection(A, 1, True, None)], {A: 4096})
    assert (traffic.bytes_of(A), traffic.received_bytes(A), traffic.last_bytes) == (4096, None, 1.0)
    traffic.add_sample(2.0, [], {A: 100})
    assert (traffic.bytes_of(A), traffic.last_bytes) == (4096, 1.0)


def test_other_ports_are_not_ours() -> None:
    traffic = Traffic([A])
    traffic.add_sample(1.0, [conn(1, 100, port=22)], {})
    assert traffic.received_bytes(A) == 0


def test_rate_is_over_the_window() -> None:
    meter = RateMeter()
    assert meter.rate == 0.0
    for second in range(100):
        meter.add(float(second), 0 if second < 50 else (second - 50) * 100)
    assert meter.rate == pytest.approx(100)
    for second in range(100, 100 + int(RATE_WINDOW) + 2):
        meter.add(float(second), 4900)
    assert meter.rate == pytest.approx(0, abs=4)


def test_rate_survives_frequent_looks() -> None:
    meter = RateMeter()
    for tenth in range(2000):
        meter.add(tenth / 10, tenth * 10)
    assert meter.rate == pytest.approx(100)
    assert len(meter._points) < 50


@pytest.mark.parametrize(("left", "rate", "eta"), [(100, 10.0, 10), (1, 10.0, 1), (0, 10.0, 0), (5, 0.0, None)])
def test_eta(left: int, rate: float, eta: int | None) -> None:
    assert eta_seconds(left, rate) == eta
