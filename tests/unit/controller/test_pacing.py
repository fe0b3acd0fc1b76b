"""Checks of a key that changes all the time become rarer."""

from __future__ import annotations

import pytest

from sendense_operator.controller import pacing
from sendense_operator.controller.pacing import MAX_WAIT_S, Pacer
from sendense_operator.reconcile.state.keys import Key, Work

CHAIN = Key(Work.CHAIN, "shop", "db/store")


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waits(pacer: Pacer, clock: Clock, seconds: int) -> list[float]:
    """Return the lengths of the waits that begin while the key changes each second."""
    found, due = list[float](), 0.0
    for _ in range(seconds):
        if clock.now >= due:
            due = clock.now + pacer.wait(CHAIN, 5.0)
            found.append(due - clock.now)
        else:
            assert pacer.wait(CHAIN, 5.0) == due - clock.now
        clock.now += 1.0
    return found


def test_each_wait_doubles_the_one_before_up_to_a_bound() -> None:
    clock = Clock()
    assert waits(Pacer(clock), clock, 300) == [5.0, 10.0, 20.0, 40.0, MAX_WAIT_S, MAX_WAIT_S, MAX_WAIT_S, MAX_WAIT_S]


def test_begins_anew_after_a_pause() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    assert waits(pacer, clock, 12) == [5.0, 10.0]
    clock.now += 15.0
    assert pacer.wait(CHAIN, 5.0) == 5.0


def test_what_is_urgent_never_waits() -> None:
    pacer = Pacer(Clock())
    assert pacer.wait(CHAIN, 5.0) == 5.0
    assert pacer.wait(CHAIN, 0.0) == 0.0


def test_keys_do_not_share_their_pace() -> None:
    pacer = Pacer(Clock())
    assert pacer.wait(CHAIN, 5.0) == pacer.wait(CHAIN._replace(name="web/store"), 5.0) == 5.0


def test_remembers_busy_keys_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_MANY", 3)
    clock = Clock()
    pacer = Pacer(clock)
    for number in range(10):
        pacer.wait(CHAIN._replace(name=f"vm{number}/store"), 5.0)
        clock.now += 4.0
    assert len(pacer._planned) <= 4
    assert waits(pacer, clock, 6) == [5.0, 10.0]
