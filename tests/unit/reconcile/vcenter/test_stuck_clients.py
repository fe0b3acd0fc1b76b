"""Clients that hang: counted from telemetry without a worker, whatever the appliance says of its uptime."""

from __future__ import annotations

import pytest
from tests.support.sample import at

from sendense_operator.api.v1alpha1.vmwareappliance import MAX_STUCK_JOBS, VMwareApplianceStatus
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.vcenter.appliance_reconciler import (
    CONTACT_STEP_S,
    UnroutedSummary,
    Workers,
    next_appliance_status,
)
from sendense_operator.reconcile.vcenter.stuck_clients import describe_stuck, stuck_jobs
from sendense_operator.vma.messages import VMAHealth


@pytest.mark.parametrize(
    ("known", "seen", "running", "settled", "jobs"),
    [
        ([], [], [], True, []),
        ([], ["b", "a"], [], True, ["a", "b"]),
        (["z"], ["a", "z"], [], True, ["z", "a"]),
        (["z"], ["a"], [], True, ["a"]),
        (["z"], ["a"], [], False, ["z", "a"]),
        (["z"], ["a"], ["z"], False, ["a"]),
        ([], ["a", "b"], ["b"], True, ["a"]),
    ],
)
def test_jobs(known: list[str], seen: list[str], running: list[str], settled: bool, jobs: list[str]) -> None:
    assert stuck_jobs(known, seen, running, settled=settled) == jobs


def test_the_list_is_bounded_and_does_not_move_when_it_is_full() -> None:
    many = [f"backup-{number}" for number in range(99)]
    full = stuck_jobs([], many, (), settled=True)
    assert len(full) == MAX_STUCK_JOBS
    assert stuck_jobs(full, reversed(many), (), settled=True) == full


def look(
    old: VMwareApplianceStatus, result: VMAHealth | Problem | None, *jobs: str, seconds: float = 0
) -> VMwareApplianceStatus:
    seen = UnroutedSummary(stuck=jobs)
    return next_appliance_status(old, result, url=None, workers=Workers(1), seen=seen, generation=1, now=at(seconds))


def healthy(uptime: str = "184ns") -> VMAHealth:
    return VMAHealth(status="healthy", uptime=uptime)


@pytest.mark.parametrize(
    "result", [None, healthy(), healthy("1h"), healthy("5s"), Problem("ApplianceUnreachable", "-")]
)
def test_what_gateways_see_counts_whatever_the_appliance_says(result: VMAHealth | Problem | None) -> None:
    status = look(VMwareApplianceStatus(), healthy("2h"), "a", seconds=1)
    later = look(status, result, "a", "b", seconds=2)
    assert (later.stuck_clients, later.stuck_jobs) == (2, ["a", "b"])
    assert look(later, result, seconds=3).stuck_clients == 0


def test_the_ready_condition_says_what_to_do() -> None:
    status = look(VMwareApplianceStatus(), healthy(), "a", "b")
    assert describe_stuck(2) in status.conditions[0].message
    assert "restart the appliance's service" in describe_stuck(1)
    assert "hang" not in look(VMwareApplianceStatus(), healthy()).conditions[0].message


def test_the_contact_time_is_written_seldom() -> None:
    first = look(VMwareApplianceStatus(), healthy("1h"), "a")
    assert look(first, healthy("1h1m"), "a", seconds=60) == first
    assert look(first, healthy(), "a", seconds=CONTACT_STEP_S).last_contact_time == at(CONTACT_STEP_S)
