"""The deadlines of Backups and Restores."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support import sample

from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.reconcile.workload.run_deadlines import RunDeadlines

NOON = sample.NOON
POD = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}
READY = Condition.model_validate(
    {"type": "Ready", "status": "False", "reason": "ClaimNotFound", "message": "no claim", "lastTransitionTime": NOON}
)


def deadlines(started: int | None = None) -> RunDeadlines:
    """60 s to start, 600 s to run."""
    return RunDeadlines(NOON, sample.at(started) if started is not None else None, 60, 600)


@pytest.mark.parametrize(
    ("started", "now", "reason"),
    [
        (None, 60, ""),
        (None, 61, "StartDeadlineExceeded"),
        (30, 630, ""),
        (30, 631, "ActiveDeadlineExceeded"),
        (59, 61, ""),
    ],
)
def test_without_a_worker(started: int | None, now: int, reason: str) -> None:
    found = deadlines(started).overdue(sample.at(now), READY)
    assert (found.reason if found is not None else "") == reason
    if reason == "StartDeadlineExceeded":
        assert found is not None
        assert found.message.endswith("(60 s); it waited for ClaimNotFound: no claim")


def test_one_that_no_controller_saw() -> None:
    found = deadlines().overdue(sample.at(61), None)
    assert found is not None
    assert found.message.endswith("no controller processed it in that time")


@pytest.mark.parametrize(("started", "now", "is_late"), [(None, 60, False), (None, 61, True), (10, 10_000, False)])
def test_a_worker_that_does_not_start(started: int | None, now: int, is_late: bool) -> None:
    assert (deadlines(started).start_overdue(sample.at(now), "Unschedulable") is not None) is is_late


@pytest.mark.parametrize(("started", "now", "is_late"), [(None, 10_000, False), (0, 720, False), (0, 721, True)])
def test_a_worker_that_does_not_end(started: int | None, now: int, is_late: bool) -> None:
    """The Job has its own deadline, and two minutes more to stop its pod."""
    found = deadlines(started).overrun(sample.at(now), POD)
    assert (found is not None) is is_late
    assert found is None or found.message.endswith("and pod p on node n1 does not stop")


@pytest.mark.parametrize(("started", "now", "seconds"), [(None, 50, 600), (0, 0, 600), (0, 500, 100), (0, 599, 60)])
def test_a_later_job_has_what_is_left(started: int | None, now: int, seconds: int) -> None:
    assert deadlines(started).job_seconds(sample.at(now)) == seconds


def test_the_next_check_is_just_after_the_start_deadline() -> None:
    rest = deadlines().until_start_deadline(sample.at(40))
    assert deadlines().overdue(sample.at(40) + timedelta(seconds=rest), None) is not None
    assert deadlines().overdue(sample.at(40) + timedelta(seconds=rest - 1), None) is None
    assert deadlines().until_start_deadline(sample.at(1000)) == 0.5
