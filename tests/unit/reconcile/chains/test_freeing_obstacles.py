"""What stops freeing in a chain, as a condition and as an event."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.sample import at

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.catalogue_format import ChainRecord, Obstacle, ObstacleReason
from sendense_operator.reconcile.chains.freeing_obstacles import Change, freeing_change, with_freeing
from sendense_operator.reconcile.state.records import ChainView

FILE = "shop/db/backups/b1.json"


def obstacle(reason: str = ObstacleReason.READ_ONLY, **more: Any) -> Obstacle:
    return Obstacle(reason=reason, **{"doing": "freeing", "file": FILE, "message": "Operation not permitted", **more})


def after(old: conditions.Conditions, *obstacles: Obstacle) -> conditions.Conditions:
    view = ChainView(chain=ChainRecord(vm="db", obstacles=obstacles), taken=at(0))
    return with_freeing(old, view, generation=1, now=at(60))


def freeing(found: conditions.Conditions) -> tuple[str, str, str] | None:
    condition = conditions.find(found, conditions.FREEING)
    return None if condition is None else (condition["status"], condition["reason"], condition["message"])


def test_nothing_was_ever_in_the_way() -> None:
    assert after([]) == []


def test_a_reason_the_file_and_the_systems_words() -> None:
    status, reason, message = freeing(after([], obstacle())) or ("", "", "")
    assert (status, reason) == ("False", "ReadOnly")
    assert message.startswith(f"freeing: {FILE}: Operation not permitted. ")


def test_it_ends() -> None:
    assert freeing(after(after([], obstacle()))) == ("True", "Resumed", "nothing is in the way of freeing any more")


def test_without_a_word_what_was_known_stays() -> None:
    old = after([], obstacle())
    assert with_freeing(old, None, generation=1, now=at(90)) == old


@pytest.mark.parametrize("reason", list(ObstacleReason))
def test_each_reason_says_what_to_do(reason: ObstacleReason) -> None:
    _, shown, message = freeing(after([], obstacle(reason))) or ("", "", "")
    assert shown == reason
    assert not message.endswith("Operation not permitted. ")


def test_of_many_the_first_are_reported() -> None:
    many = [obstacle(file=f"b{number}.json") for number in range(5)]
    _, _, message = freeing(after([], *many)) or ("", "", "")
    assert "b2.json" in message
    assert "b3.json" not in message
    assert "and 2 more" in message


def test_words_of_a_pod_become_no_reason() -> None:
    _, reason, message = freeing(after([], obstacle("not a reason", message="x" * 100_000))) or ("", "", "")
    assert reason == "StorageError"
    assert len(message) < 1300


def status(*steps: tuple[Obstacle, ...]) -> BackupChainStatus:
    found: conditions.Conditions = []
    for obstacles in steps:
        found = after(found, *obstacles)
    return BackupChainStatus(conditions=conditions.models_of(found))


STOPPED, BUSY = (obstacle(),), (obstacle(ObstacleReason.CHAIN_BUSY),)
PINNED = (obstacle(ObstacleReason.LAYER_PINNED),)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ([], [()], None),
        ([], [STOPPED], "FreeingStopped"),
        ([STOPPED], [STOPPED, STOPPED], None),
        ([STOPPED], [STOPPED, (obstacle(file="other"),)], "FreeingStopped"),
        ([STOPPED], [STOPPED, ()], "FreeingResumed"),
        ([], [BUSY], None),
        ([BUSY], [BUSY, ()], None),
        ([], [PINNED], None),
        ([PINNED], [PINNED, ()], None),
        ([BUSY], [BUSY, STOPPED], "FreeingStopped"),
    ],
)
def test_an_event_for_each_change(
    before: list[tuple[Obstacle, ...]], now: list[tuple[Obstacle, ...]], reason: str | None
) -> None:
    change = freeing_change(status(*before), status(*now))
    assert (change.reason if change else None) == reason
    if change is not None:
        assert change == Change("Warning" if reason == "FreeingStopped" else "Normal", change.reason, change.message)
