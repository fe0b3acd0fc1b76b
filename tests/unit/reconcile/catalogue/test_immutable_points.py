"""Immutable restore points as the controller sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import NOON, at

from sendense_operator.api.v1alpha1.backup import BackupStatus, Phase
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.reconcile.catalogue.immutable_points import (
    immutability_of,
    immutable_until,
    is_immutable,
    seconds_left,
)

DAY = timedelta(days=1)


def repository(days: int | None = None) -> BackupRepositorySpec:
    immutability: dict[str, Any] = {"immutability": {"days": days}} if days else {}
    return BackupRepositorySpec.model_validate(sample.repository(**immutability)["spec"])


def status(**changes: Any) -> BackupStatus:
    fields = {"phase": Phase.COMPLETED, "completion_time": NOON, "manifest": "shop/db/backups/b1.json"}
    return BackupStatus.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("own", "days", "until"),
    [
        (None, None, None),
        (None, 2, NOON + 2 * DAY),
        (NOON + DAY, None, NOON + DAY),
        (NOON + DAY, 2, NOON + 2 * DAY),
        (NOON + 3 * DAY, 2, NOON + 3 * DAY),
    ],
)
def test_the_later_time_counts(own: datetime | None, days: int | None, until: datetime | None) -> None:
    assert immutable_until(status(retained_until=own), repository(days)) == until
    assert immutable_until(status(retained_until=own, phase=Phase.DELETING), repository(days)) == until


@pytest.mark.parametrize(
    "changes",
    [{"phase": Phase.LOST}, {"phase": Phase.FAILED}, {"phase": Phase.DELETING, "manifest": None}, {"phase": None}],
)
def test_what_is_no_restore_point_waits_for_nothing(changes: dict[str, Any]) -> None:
    assert immutable_until(status(retained_until=NOON + DAY, **changes), repository(3)) is None


def test_without_its_repository_its_own_time_counts() -> None:
    assert immutable_until(status(retained_until=NOON + DAY), None) == NOON + DAY


def test_a_removal_comes_when_both_clocks_agree() -> None:
    assert is_immutable(NOON, at(-1))
    assert is_immutable(NOON, at(59))
    assert not is_immutable(NOON, at(60))
    assert not is_immutable(None, NOON)


@pytest.mark.parametrize(("now", "left"), [(at(-10), 70.0), (at(60), 1.0), (at(500), 1.0), (NOON - 30 * DAY, 3600.0)])
def test_the_next_check_is_at_its_time_but_not_much_later(now: datetime, left: float) -> None:
    assert seconds_left(NOON, now) == left


def test_a_task_has_the_time_and_the_days() -> None:
    given = immutability_of(repository(5), NOON + timedelta(microseconds=5))
    assert (given.now, given.days) == (NOON, 5)
    assert immutability_of(repository(), NOON).days is None
