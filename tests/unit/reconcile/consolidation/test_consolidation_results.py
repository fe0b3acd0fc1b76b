"""What the end of a consolidation's pod leaves in the chain's status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.sample import NOON

from sendense_operator.answer import Answer, Consolidated
from sendense_operator.api.v1alpha1.chain_consolidation import ChainConsolidation
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.reconcile.consolidation.consolidation_results import (
    MOST_FAILURES,
    ConsolidationEnd,
    known_obstacle,
    record_end,
)

NOW = NOON + timedelta(seconds=100)
MIB = 1 << 20


def end(answer: Answer | None, request: str = "", death: str = "OOMKilled") -> ConsolidationEnd:
    return ConsolidationEnd(answer, death, request, "digest")


def answer(outcome: Any = "Completed", **done: Any) -> Answer:
    return Answer(
        outcome=outcome,
        reason="StorageError" if outcome == "Failed" else "",
        message="stale file handle" if outcome == "Failed" else "",
        consolidated=Consolidated(**done),
        finished=NOON,
    )


def recorded(one: ConsolidationEnd, **state: Any) -> ChainConsolidation:
    known = ChainConsolidation.model_validate(state)
    record_end(known, one, NOW)
    return known


def test_one_that_came_to_its_end() -> None:
    state = recorded(
        end(answer(merges=2, freed_bytes=MIB)), left="NoRoom", message="x", problem="y", tries=4, seen="old"
    )
    assert (state.last_time, state.last_merges, state.last_freed_bytes) == (NOON, 2, MIB)
    assert (state.left, state.message, state.problem, state.tries, state.seen) == ("", "", "", 0, "digest")


def test_what_was_left() -> None:
    left = answer(left="NoRoom", message="10 MiB are free")
    state = recorded(end(left), tries=2)
    assert (state.left, state.message, state.tries, state.problem) == ("NoRoom", "10 MiB are free", 3, "")
    some = recorded(end(answer(merges=1, left="NoRoom", message="x")), tries=2)
    assert some.tries == 1, "it came forward"


def test_one_that_was_only_interrupted_goes_on() -> None:
    state = recorded(end(answer("Cancelled", merges=1), "now"), seen="old", tries=2, request_time=NOON)
    assert (state.last_merges, state.seen, state.tries, state.problem) == (1, "old", 2, "")
    assert (state.request, state.request_time) == ("", NOON)


@pytest.mark.parametrize(
    ("given", "problem"),
    [(None, "the consolidation left no answer: OOMKilled"), (answer("Failed"), "StorageError: stale file handle")],
)
def test_a_failure(given: Answer | None, problem: str) -> None:
    state = recorded(end(given, "now"), request_time=NOON)
    assert (state.problem, state.tries, state.seen) == (problem, 1, "digest")
    assert (state.request, state.request_time) == ("", NOON), "it is tried again"
    last = recorded(end(given, "now"), request_time=NOON, tries=MOST_FAILURES - 1)
    assert (last.request, last.request_time) == ("now", None), "it is given up"


def test_a_request_ends_with_the_job_that_answers_it() -> None:
    done = recorded(end(answer(), "now"), request_time=NOON)
    assert (done.request, done.request_time) == ("now", None)
    other = recorded(end(answer()), request="old", request_time=NOON)
    assert (other.request, other.request_time) == ("old", NOON)


def test_a_worker_s_clock_that_is_ahead() -> None:
    late = answer().model_copy(update={"finished": NOW + timedelta(hours=1)})
    assert recorded(end(late)).last_time == NOW


def test_the_summary_has_the_numbers() -> None:
    text = end(answer(merges=2, removed_layers=5, written_bytes=3 * MIB, freed_bytes=4 * MIB, depth=7)).summary
    assert [part in text for part in ("2 layers written", "5 layers less", "3.0 MiB", "4.0 MiB", "7 layers")] == [
        True
    ] * 5
    assert end(answer()).summary == end(None).summary == ""


def test_obstacles_are_a_closed_list() -> None:
    assert [known_obstacle(one.value) for one in ConsolidationObstacle] == [one.value for one in ConsolidationObstacle]
    assert (known_obstacle(""), known_obstacle("MoonPhase")) == ("", "MergeFailed")
