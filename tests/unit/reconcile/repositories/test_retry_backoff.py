"""Duties that fail are tried again ever more seldom, and not held up by what failed before somebody asked anew."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.wiring.rig import Rig

from sendense_operator.reconcile.repositories.retry_backoff import (
    FIRST_S,
    Duty,
    duties_of,
    hold,
    pause,
    release,
    rest_of,
    troubles,
)
from sendense_operator.task import ProbeTask, Removal

STORE = sample.repository(scanIntervalSeconds=1000, probeIntervalSeconds=100)


@pytest.mark.parametrize(
    ("tries", "longest", "seconds"),
    [(1, 1000, 30), (2, 1000, 60), (5, 1000, 480), (6, 1000, 960), (7, 1000, 1000), (10_000, 1000, 1000), (1, 10, 10)],
)
def test_a_pause_doubles_up_to_the_longest(tries: int, longest: float, seconds: float) -> None:
    assert pause(tries, longest) == seconds


def test_each_duty_waits_for_itself() -> None:
    ctx = Rig().controller.ctx
    for _ in range(10):
        hold(ctx, STORE, Duty.SCAN, "no")
        hold(ctx, STORE, Duty.REMOVAL, "no")
    assert (rest_of(ctx, STORE, Duty.SCAN), rest_of(ctx, STORE, Duty.REMOVAL)) == (1000, 100)
    assert rest_of(ctx, sample.repository("other"), Duty.SCAN) == 0
    release(ctx, STORE, Duty.SCAN)
    assert (rest_of(ctx, STORE, Duty.SCAN), rest_of(ctx, STORE, Duty.REMOVAL)) == (0, 100)
    hold(ctx, STORE, Duty.SCAN, "no")
    assert rest_of(ctx, STORE, Duty.SCAN) == FIRST_S


def test_a_new_request_is_answered_at_once() -> None:
    ctx = Rig().controller.ctx
    for _ in range(5):
        hold(ctx, STORE, Duty.SCAN, "no", "monday")
    assert rest_of(ctx, STORE, Duty.SCAN, "monday") == 480
    assert rest_of(ctx, STORE, Duty.SCAN, "tuesday") == 0
    hold(ctx, STORE, Duty.SCAN, "no", "tuesday")
    assert rest_of(ctx, STORE, Duty.SCAN, "tuesday") == FIRST_S


def test_it_passes_and_is_still_told() -> None:
    rig = Rig()
    ctx = rig.controller.ctx
    hold(ctx, STORE, Duty.SCAN, "it was too slow")
    rig.world.clock.seconds += FIRST_S
    assert rest_of(ctx, STORE, Duty.SCAN) == 0
    assert troubles(ctx, STORE) == "the last scan did not succeed: it was too slow"
    hold(ctx, STORE, Duty.REMOVAL, "so was this")
    assert troubles(ctx, STORE).endswith("; the last removal did not succeed: so was this")
    release(ctx, STORE, Duty.SCAN)
    release(ctx, STORE, Duty.REMOVAL)
    assert troubles(ctx, STORE) == ""


def test_duties() -> None:
    look = ProbeTask(namespace="shop", repository="store", repository_uid="u")
    one = Removal(vm="db", backup="b1", backup_uid="uid-1")
    assert duties_of(look) == []
    assert duties_of(look.model_copy(update={"scan": True})) == [Duty.SCAN]
    assert duties_of(look.model_copy(update={"scan": True, "remove": (one,)})) == [Duty.SCAN, Duty.REMOVAL]
