"""Duties that fail are tried again ever more seldom, and not held up by what failed before somebody asked anew."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.wiring.rig import Rig

from sendense_operator.reconcile.repositories.retry_backoff import (
    FIRST_S,
    MaintenanceStep,
    back_off,
    clear_backoff,
    pause,
    remaining_backoff,
    steps_of,
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
        back_off(ctx, STORE, MaintenanceStep.SCAN, "no")
        back_off(ctx, STORE, MaintenanceStep.REMOVAL, "no")
    assert (
        remaining_backoff(ctx, STORE, MaintenanceStep.SCAN),
        remaining_backoff(ctx, STORE, MaintenanceStep.REMOVAL),
    ) == (1000, 100)
    assert remaining_backoff(ctx, sample.repository("other"), MaintenanceStep.SCAN) == 0
    clear_backoff(ctx, STORE, MaintenanceStep.SCAN)
    assert (
        remaining_backoff(ctx, STORE, MaintenanceStep.SCAN),
        remaining_backoff(ctx, STORE, MaintenanceStep.REMOVAL),
    ) == (0, 100)
    back_off(ctx, STORE, MaintenanceStep.SCAN, "no")
    assert remaining_backoff(ctx, STORE, MaintenanceStep.SCAN) == FIRST_S


def test_a_new_request_is_answered_at_once() -> None:
    ctx = Rig().controller.ctx
    for _ in range(5):
        back_off(ctx, STORE, MaintenanceStep.SCAN, "no", "monday")
    assert remaining_backoff(ctx, STORE, MaintenanceStep.SCAN, "monday") == 480
    assert remaining_backoff(ctx, STORE, MaintenanceStep.SCAN, "tuesday") == 0
    back_off(ctx, STORE, MaintenanceStep.SCAN, "no", "tuesday")
    assert remaining_backoff(ctx, STORE, MaintenanceStep.SCAN, "tuesday") == FIRST_S


def test_it_passes_and_is_still_told() -> None:
    rig = Rig()
    ctx = rig.controller.ctx
    back_off(ctx, STORE, MaintenanceStep.SCAN, "it was too slow")
    rig.world.clock.seconds += FIRST_S
    assert remaining_backoff(ctx, STORE, MaintenanceStep.SCAN) == 0
    assert troubles(ctx, STORE) == "the last scan did not succeed: it was too slow"
    back_off(ctx, STORE, MaintenanceStep.REMOVAL, "so was this")
    assert troubles(ctx, STORE).endswith("; the last removal did not succeed: so was this")
    clear_backoff(ctx, STORE, MaintenanceStep.SCAN)
    clear_backoff(ctx, STORE, MaintenanceStep.REMOVAL)
    assert troubles(ctx, STORE) == ""


def test_duties() -> None:
    look = ProbeTask(namespace="shop", repository="store", repository_uid="u")
    one = Removal(vm="db", backup="b1", backup_uid="uid-1")
    assert steps_of(look) == []
    assert steps_of(look.model_copy(update={"scan": True})) == [MaintenanceStep.SCAN]
    assert steps_of(look.model_copy(update={"scan": True, "remove": (one,)})) == [
        MaintenanceStep.SCAN,
        MaintenanceStep.REMOVAL,
    ]
