"""Conditions as kstatus reads them, and the phase that is derived from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.api.v1alpha1.conditions import (
    RUNNING_REASONS,
    TERMINAL_PHASES,
    Conditions,
    State,
    find,
    is_true,
    phase_of,
    ready,
    reconciling,
    stalled,
    update,
    with_aspect,
)
from sendense_operator.task import Stage

NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def shape(conditions: Conditions) -> dict[str, str]:
    return {c["type"]: c["status"] for c in conditions}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ready("Completed", "2 disks"), {"Ready": "True"}),
        (reconciling("VMNotFound", "no vm"), {"Ready": "False", "Reconciling": "True"}),
        (stalled("WritesLost", "lost"), {"Ready": "False", "Stalled": "True"}),
    ],
)
def test_abnormal_conditions_are_there_only_while_true(state: State, expected: dict[str, str]) -> None:
    assert shape(update([], state, generation=1, now=NOON)) == expected
    busy = update([], reconciling("Copying", ""), now=NOON)
    assert shape(update(busy, state, now=LATER)) == expected


def test_every_condition_carries_reason_message_and_generation() -> None:
    for condition in update([], stalled("WritesLost", "look at the disk"), generation=3, now=NOON):
        assert condition["reason"] == "WritesLost"
        assert condition["message"] == "look at the disk"
        assert condition["observedGeneration"] == 3
        assert condition["lastTransitionTime"] == "2025-10-05T12:00:00Z"
        Condition.model_validate(condition)


def test_transition_time_moves_with_the_status_only() -> None:
    waiting = update([], reconciling("VMNotFound", ""), now=NOON)
    copying = update(waiting, reconciling("Copying", "other words"), now=LATER)
    assert {c["lastTransitionTime"] for c in copying} == {"2025-10-05T12:00:00Z"}
    done = update(copying, ready("Completed", ""), now=LATER)
    assert [c["lastTransitionTime"] for c in done] == ["2025-10-05T12:01:00Z"]


def test_times_are_written_in_utc() -> None:
    local = NOON.astimezone(datetime.now().astimezone().tzinfo)
    assert update([], ready("Completed", ""), now=local)[0]["lastTransitionTime"] == "2025-10-05T12:00:00Z"


def test_conditions_of_others_stay() -> None:
    foreign = {"type": "Audited", "status": "True", "reason": "Yes", "lastTransitionTime": "2025-01-01T00:00:00Z"}
    assert find(update([foreign], ready("Completed", "")), "Audited") == foreign


def test_a_long_message_is_cut_to_what_the_schema_allows() -> None:
    assert len(update([], stalled("Failed", "x" * 5000))[0]["message"]) == 4096


def test_the_same_state_again_changes_nothing() -> None:
    once = update([], reconciling("Copying", "10%"), generation=1, now=NOON)
    assert update(once, reconciling("Copying", "10%"), generation=1, now=LATER) == once


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], Phase.PENDING),
        (update([], reconciling("VMNotFound", "")), Phase.PENDING),
        (update([], reconciling("WaitingForSlot", "")), Phase.PENDING),
        (update([], reconciling("Deleting", "")), Phase.DELETING),
        (update([], ready("Completed", "")), Phase.COMPLETED),
        (update([], stalled("Cancelled", "")), Phase.CANCELLED),
        (update([], stalled("WritesLost", "")), Phase.FAILED),
        *[(update([], reconciling(reason, "")), Phase.RUNNING) for reason in sorted(RUNNING_REASONS)],
    ],
)
def test_phase(conditions: Conditions, expected: Phase) -> None:
    assert phase_of(conditions) is expected


def test_every_stage_of_a_worker_counts_as_running() -> None:
    assert {stage.value for stage in Stage} - {Stage.DONE.value} <= RUNNING_REASONS


def test_a_condition_that_is_false_does_not_decide_the_phase() -> None:
    conditions: list[dict[str, Any]] = [
        {"type": "Reconciling", "status": "False", "reason": "Copying"},
        {"type": "Stalled", "status": "False", "reason": "Failed"},
        {"type": "Ready", "status": "True", "reason": "Completed"},
    ]
    assert phase_of(conditions) is Phase.COMPLETED


def test_terminal_phases_are_the_ends() -> None:
    assert {Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.LOST} == TERMINAL_PHASES


def test_is_true() -> None:
    assert is_true(update([], ready("Completed", "")), "Ready")
    assert not is_true(update([], ready("Completed", "")), "Stalled")
    assert not is_true(update([], stalled("Failed", "")), "Ready")


@pytest.mark.parametrize(("holds", "status"), [(True, "True"), (False, "False"), (None, "Unknown")])
def test_an_aspect_beside_ready(holds: bool | None, status: str) -> None:
    conditions = with_aspect(update([], ready("Fine", ""), now=NOON), "Discovered", holds, "Why", "", now=NOON)
    assert shape(conditions) == {"Ready": "True", "Discovered": status}
    again = with_aspect(conditions, "Discovered", holds, "Other", "", now=LATER)
    assert [c["lastTransitionTime"] for c in again] == ["2025-10-05T12:00:00Z"] * 2
    turned = with_aspect(again, "Discovered", holds is not True, "Other", "", now=LATER)
    assert find(turned, "Discovered") == {**(find(again, "Discovered") or {}), "status": str(holds is not True)} | {
        "lastTransitionTime": "2025-10-05T12:01:00Z"
    }
    assert shape(update(turned, ready("Fine", ""), now=LATER)) == shape(turned)
