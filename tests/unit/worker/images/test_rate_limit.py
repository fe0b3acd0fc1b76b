"""A limit of bytes per second, with a clock of its own."""

from __future__ import annotations

import threading

from sendense_operator.worker.images.rate_limit import RateLimit


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits = list[float]()

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_the_rate_is_kept() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock, clock.wait)
    for _ in range(11):
        limit.take(500)
    assert clock.now == 105.0
    assert clock.waits == [0.5] * 10


def test_more_than_a_seconds_share() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock, clock.wait)
    limit.take(4000)
    limit.take(1)
    assert clock.waits == [4.0]


def test_unused_time_is_not_saved_up() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock, clock.wait)
    limit.take(1000)
    clock.now += 3600
    limit.take(1000)
    limit.take(1000)
    assert clock.waits == [1.0]


def test_readers_wait_in_turn() -> None:
    """They reserve what they read, so that several at the same time are not faster than one."""
    clock = Clock()
    waits = list[float]()
    limit = RateLimit(1000, clock, waits.append)
    for _ in range(4):
        limit.take(1000)
    assert waits == [1.0, 2.0, 3.0]


def test_no_limit() -> None:
    clock = Clock()
    RateLimit(None, clock, clock.wait).take(1 << 40)
    assert clock.waits == []


def test_stopping_ends_the_wait() -> None:
    limit = RateLimit(1)
    limit.take(1 << 20)
    waiting = threading.Thread(target=limit.take, args=(1 << 20,))
    waiting.start()
    limit.stop()
    waiting.join(30)
    assert not waiting.is_alive()
    limit.take(1)
