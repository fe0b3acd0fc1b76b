"""When layers are merged, and what begins no circle."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.support.sample import NOON

from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation, Consolidation, ConsolidationWindow
from sendense_operator.consolidation_task import ConsolidationMode, ConsolidationObstacle
from sendense_operator.reconcile.consolidation.consolidation_decision import (
    LONGEST_BACKOFF_S,
    DueConsolidation,
    HeldConsolidation,
    decide_due,
    take_request,
)
from sendense_operator.reconcile.consolidation.mergeable_layers import MergeableLayers

ONE = MergeableLayers(needed=("b1",), depth=3, damaged=(), is_empty=False)
TWO = MergeableLayers(needed=("b1", "b2"), depth=3, damaged=(), is_empty=False)
DEEP = MergeableLayers(needed=("b1",), depth=9, damaged=(), is_empty=False)
NONE = MergeableLayers(needed=(), depth=20, damaged=(), is_empty=False)
DAMAGED = MergeableLayers(needed=("b1",), depth=3, damaged=("b3",), is_empty=False)
EMPTY = MergeableLayers(needed=(), depth=0, damaged=(), is_empty=True)
AUTO = Consolidation()
MANUAL = Consolidation(mode=ConsolidationMode.MANUAL)
SEEN = ChainConsolidation(last_time=NOON, seen=ONE.digest(8))
CLOSED = Consolidation(window=ConsolidationWindow(start="14:00", end="15:00"))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def decide(
    layers: MergeableLayers, state: ChainConsolidation, rules: Consolidation = AUTO, seconds: float = 60
) -> DueConsolidation | HeldConsolidation | None:
    return decide_due(layers, state.model_copy(deep=True), rules, "now", after(seconds))


@pytest.mark.parametrize(
    ("layers", "state", "due"),
    [
        (ONE, ChainConsolidation(), True),
        (ONE, SEEN, False),
        (TWO, SEEN, True),
        (DEEP, SEEN, True),
        (DEEP, ChainConsolidation(last_time=NOON, seen=DEEP.digest(8)), False),
        (NONE, ChainConsolidation(), False),
        (NONE, ChainConsolidation(last_time=NOON, left="NoRoom", tries=1), False),
    ],
)
def test_by_itself_only_when_there_is_something_new_to_merge(
    layers: MergeableLayers, state: ChainConsolidation, due: bool
) -> None:
    assert decide(layers, state) == (DueConsolidation() if due else None)


@pytest.mark.parametrize("mode", [ConsolidationMode.MANUAL, ConsolidationMode.NEVER])
def test_in_no_other_mode_by_itself(mode: ConsolidationMode) -> None:
    assert decide(ONE, ChainConsolidation(), Consolidation(mode=mode)) is None


def test_a_request_is_due_in_any_window_with_or_without_something_to_merge() -> None:
    state = ChainConsolidation(request_time=NOON)
    rules = Consolidation(mode=ConsolidationMode.MANUAL, window=CLOSED.window)
    assert decide(NONE, state, rules) == DueConsolidation("now")
    assert decide(ONE, state, CLOSED) == DueConsolidation("now")


def test_outside_its_window_it_waits() -> None:
    held = decide(ONE, ChainConsolidation(), CLOSED)
    assert isinstance(held, HeldConsolidation)
    assert (held.delay, "14:00 (UTC)" in held.progress) == (3600, True), "checked again meanwhile"
    assert decide(ONE, ChainConsolidation(), CLOSED, seconds=2 * 3600) == DueConsolidation()


@pytest.mark.parametrize("request_time", [None, NOON])
def test_nothing_of_a_damaged_chain(request_time: datetime | None) -> None:
    held = decide(DAMAGED, ChainConsolidation(request_time=request_time))
    assert isinstance(held, HeldConsolidation)
    assert (held.obstacle, "b3" in held.message) == (ConsolidationObstacle.DAMAGED, True)


@pytest.mark.parametrize(("tries", "wait"), [(1, 30), (2, 60), (4, 240), (40, LONGEST_BACKOFF_S)])
def test_what_was_left_is_tried_again_ever_more_seldom(tries: int, wait: float) -> None:
    left = ChainConsolidation(last_time=NOON, seen=ONE.digest(8), left="NoRoom", tries=tries)
    assert decide(ONE, left, seconds=wait - 10) == HeldConsolidation(10)
    assert decide(ONE, left, seconds=wait) == DueConsolidation()
    assert decide(TWO, left, seconds=wait - 10) == HeldConsolidation(10), "more of the same does not hurry it"


def test_a_new_request_does_not_wait_for_old_failures() -> None:
    failed = ChainConsolidation(last_time=NOON, problem="OOMKilled", tries=9)
    newer, older = ChainConsolidation(**{**dict(failed), "request_time": after(1)}), failed.model_copy(deep=True)
    older.request_time = NOON
    assert decide(ONE, newer, MANUAL, seconds=5) == DueConsolidation("now")
    assert decide(ONE, older, MANUAL, seconds=30) == HeldConsolidation(30 * 2**8 - 30)


def test_a_clock_that_was_set_back_puts_nothing_off() -> None:
    left = ChainConsolidation(last_time=after(10_000), seen=ONE.digest(8), left="NoRoom", tries=9)
    assert decide(ONE, left) == DueConsolidation()


def test_a_zone_that_nobody_knows_is_a_problem() -> None:
    rules = Consolidation(window=ConsolidationWindow(start="14:00", end="15:00", time_zone="Mars/Olympus"))
    held = decide(ONE, ChainConsolidation(), rules)
    assert isinstance(held, HeldConsolidation)
    assert "Mars/Olympus" in held.problem


def requested(
    value: str, mode: ConsolidationMode = ConsolidationMode.AUTO, layers: MergeableLayers = ONE, **state: object
) -> ChainConsolidation:
    known = ChainConsolidation.model_validate({"request": "old", **state})
    take_request(known, value, mode, layers, NOON)
    return known


def test_a_request_is_taken_once() -> None:
    assert requested("old").request_time is None
    assert requested("").request_time is None
    assert requested("now").request_time == NOON
    assert requested("now", ConsolidationMode.MANUAL).request_time == NOON
    assert requested("now", request_time=after(-60)).request_time == after(-60)
    assert requested("old", request_time=after(-60)).request_time is None, "it was withdrawn"


def test_a_chain_without_anything_is_done_at_once() -> None:
    state = requested("now", layers=EMPTY)
    assert (state.request, state.request_time) == ("now", None)


def test_a_refusal_is_told_until_the_mode_changes() -> None:
    state = requested("now", ConsolidationMode.NEVER, request_time=after(-60))
    assert (state.request, state.request_time) == ("now", None)
    assert "spec.consolidation.mode" in state.problem
    take_request(state, "now", ConsolidationMode.NEVER, ONE, NOON)
    assert state.problem
    take_request(state, "now", ConsolidationMode.MANUAL, ONE, NOON)
    assert state.problem == ""
