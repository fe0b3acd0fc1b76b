"""Clients that hang: counted from what workers say, forgotten when the appliance's service was restarted."""

from __future__ import annotations

from datetime import datetime

import pytest
from tests.support.sample import at, failed_answer

from sendense_operator.api.v1alpha1.vmwareappliance import MAX_STUCK_JOBS, VMwareApplianceStatus
from sendense_operator.reconcile.appliance import CONTACT_STEP_S, Workers, next_status
from sendense_operator.reconcile.problems import Problem
from sendense_operator.reconcile.stuck import describe, started_at, stuck_jobs, was_restarted
from sendense_operator.task import Answer
from sendense_operator.vma.models import Health


def told(job: str = "backup-1", *, finished: datetime | None = None, stuck: bool = True) -> Answer:
    return failed_answer().model_copy(update={"job_id": job, "stuck_client": stuck, "finished": finished})


@pytest.mark.parametrize(
    ("before", "now", "restarted"),
    [
        ("10m", "11m", False),
        ("10m", "10m", False),
        ("72h3m0.5s", "2s", True),
        ("3600", "59m59s", True),
        (None, "2s", False),
        ("10m", None, False),
        ("10m", "a while", False),
        ("for ages", "2s", False),
    ],
)
def test_an_uptime_that_goes_back_is_a_restart(before: str | None, now: str | None, restarted: bool) -> None:
    assert was_restarted(before, now) is restarted


def test_since_when_the_service_runs() -> None:
    assert started_at(at(100), "1m") == at(40)
    assert started_at(None, "1m") is None
    assert started_at(at(100), "?") is None
    assert started_at(at(100), "999999999999999h") is None


@pytest.mark.parametrize(
    ("known", "answers", "started", "jobs"),
    [
        ([], [], None, []),
        ([], [told("b"), told("a"), told("b")], None, ["a", "b"]),
        (["z"], [told("a"), told("z")], None, ["z", "a"]),
        (["z"], [], at(0), ["z"]),
        ([], [told(stuck=False), told("")], None, []),
        ([], [told("old", finished=at(9)), told("new", finished=at(11)), told("unknown")], at(10), ["new", "unknown"]),
        ([], [told("old", finished=at(9))], None, ["old"]),
    ],
)
def test_jobs(known: list[str], answers: list[Answer], started: datetime | None, jobs: list[str]) -> None:
    assert stuck_jobs(known, answers, started) == jobs


def test_the_list_is_bounded_and_does_not_move_when_it_is_full() -> None:
    answers = [told(f"backup-{number}") for number in range(99)]
    full = stuck_jobs([], answers, None)
    assert len(full) == MAX_STUCK_JOBS
    assert stuck_jobs(full, reversed(answers), None) == full


def look(
    old: VMwareApplianceStatus, result: Health | Problem | None, *answers: Answer, seconds: float = 0
) -> VMwareApplianceStatus:
    return next_status(old, result, url=None, workers=Workers(1, answers), generation=1, now=at(seconds))


def healthy(uptime: str = "") -> Health:
    return Health(status="healthy", uptime=uptime)


@pytest.mark.parametrize("result", [None, healthy(), healthy("1h"), Problem("ApplianceUnreachable", "no answer")])
def test_what_workers_tell_is_kept_whatever_the_appliance_says(result: Health | Problem | None) -> None:
    status = look(VMwareApplianceStatus(), result, told("a"), seconds=1)
    assert (status.stuck_clients, status.stuck_jobs) == (1, ["a"])
    later = look(status, None, seconds=2)
    assert later == status
    assert look(later, healthy("2h"), told("b"), seconds=3).stuck_jobs == ["a", "b"]


def test_the_ready_condition_says_what_to_do() -> None:
    status = look(VMwareApplianceStatus(), healthy("1h"), told("a"), told("b"))
    assert describe(2) in status.conditions[0].message
    assert "restart the appliance's service" in describe(1)
    assert "hang" not in look(VMwareApplianceStatus(), healthy("1h")).conditions[0].message


def test_a_restart_frees_them_once_and_for_all() -> None:
    stuck = told("a", finished=at(50))
    status = look(VMwareApplianceStatus(), healthy("1h"), stuck, seconds=60)
    status = look(status, healthy("1h1m"), stuck, seconds=120)
    assert status.stuck_clients == 1
    status = look(status, healthy("5s"), stuck, seconds=180)  # its pod is still there
    assert (status.stuck_clients, status.stuck_jobs, status.uptime) == (0, [], "5s")
    assert look(status, None, stuck, seconds=181).stuck_clients == 0
    assert look(status, healthy("9s"), stuck, told("b", finished=at(183)), seconds=184).stuck_jobs == ["b"]


def test_without_an_uptime_they_stay() -> None:
    status = look(VMwareApplianceStatus(), healthy("a long time"), told("a", finished=at(50)), seconds=60)
    assert look(status, healthy("no time"), seconds=120).stuck_clients == 1


def test_uptime_and_contact_are_written_seldom_while_all_is_well() -> None:
    first = look(VMwareApplianceStatus(), healthy("1h"))
    assert look(first, healthy("1h1m"), seconds=60) == first
    later = look(first, healthy("1h5m"), seconds=CONTACT_STEP_S)
    assert (later.uptime, later.last_contact_time) == ("1h5m", at(CONTACT_STEP_S))
