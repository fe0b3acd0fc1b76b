"""What an appliance's status says of its discovery."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import at

from sendense_operator.api.v1alpha1.discovery import MAX_PLANNED, DiscoverySpec, DiscoveryStatus
from sendense_operator.reconcile.state.discovery_records import (
    Creation,
    DiscoveredVM,
    DiscoveryPlan,
    DiscoveryRun,
    Move,
    Relabel,
    Step,
)
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.vcenter.discovery_plan import decide_plan, known_of
from sendense_operator.reconcile.vcenter.discovery_run import DiscoveryReport, report_discovery
from sendense_operator.vma.messages import Inventory, InventoryVM


def plan(count: int, *, odd: int = 0) -> DiscoveryPlan:
    paths = [f"/DC1/vm/vm{number}" for number in range(count)] + [f"odd{number}" for number in range(odd)]
    vms = tuple(InventoryVM(name="vm", path=path) for path in paths)
    return decide_plan({"DC1": Inventory(vms=vms)}, [], lambda _: True, vcenter="vc", taken=())


def run(planned: DiscoveryPlan | None = None, **fields: Any) -> DiscoveryRun:
    made = DiscoveryRun(("uid", 1), 0.0, at(0), plan=planned, **fields)
    if planned is not None and made.ended is None:
        made.steps = deque(planned.creations)
    return made


def reported(of: DiscoveryRun, *, dry: bool = False, old: DiscoveryStatus | None = None) -> DiscoveryReport:
    return report_discovery(of, DiscoverySpec(datacenters=["DC1"], dry_run=dry), old)


@pytest.mark.parametrize(
    ("of", "dry", "expected"),
    [
        (run(), False, (False, "Discovering")),
        (run(plan(2)), False, (False, "Discovering")),
        (run(plan(2), ended=5.0, created=2), False, (True, "Discovered")),
        (run(plan(2), ended=5.0), True, (True, "DryRun")),
        (run(ended=5.0, problems={"": Problem("VCenterRefused", "no")}), False, (False, "VCenterRefused")),
        (run(plan(2), ended=5.0, doubts={"db": Problem("ApplianceError", "x")}), False, (False, "ApplianceError")),
        (
            run(plan(2), ended=5.0, problems={"DC2": Problem("DatacenterNotFound", "x")}),
            False,
            (False, "DatacenterNotFound"),
        ),
    ],
)
def test_the_condition(of: DiscoveryRun, dry: bool, expected: tuple[bool, str]) -> None:
    found = reported(of, dry=dry)
    assert (found.holds, found.reason) == expected
    assert found.message == found.status.message


def test_labels_are_changed_once_in_a_run() -> None:
    assert run(plan(1), relabelled={"db"}).is_off(RELABEL)
    assert not run(plan(1), relabelled={"web"}).is_off(RELABEL)


def test_changes_are_counted() -> None:
    planned = replace(plan(2), moves=(MOVE,), relabels=(RELABEL,))
    assert (
        "1 ProtectedVM would be made, 2 changed"
        in reported(run(replace(planned, creations=(CREATION,))), dry=True).message
    )
    found = reported(run(planned, ended=5.0, updated=2))
    assert found.status.updated == 2
    assert "2 changed" in found.message


def test_what_is_left_to_do() -> None:
    status = reported(run(plan(3), created=1)).status
    assert (status.vms, status.matched, status.created, status.pending) == (3, 3, 1, 3)
    assert status.planned == []


def test_a_dry_run_shows_the_first_ones_and_counts_all() -> None:
    found = reported(run(plan(MAX_PLANNED + 5), ended=1.0), dry=True)
    assert (found.status.pending, len(found.status.planned)) == (MAX_PLANNED + 5, MAX_PLANNED)
    assert f"{MAX_PLANNED + 5} ProtectedVMs would be made" in found.message


def test_what_can_not_be_made_is_named_but_not_without_limit() -> None:
    found = reported(run(plan(1, odd=9), ended=1.0, refused={"/DC1/vm/x": "too odd" * 1000}))
    assert found.status.unusable == 10
    assert "'odd0'" in found.message
    assert len(found.message) < 1000


def test_a_failure_keeps_what_was_counted_and_when() -> None:
    before = reported(run(plan(2), ended=1.0, created=2)).status
    failed = reported(run(ended=9.0, problems={"": Problem("ApplianceUnreachable", "no answer")}), old=before).status
    assert (failed.vms, failed.matched, failed.last_time) == (2, 2, at(0))
    assert failed.message == "no answer"


def test_what_vcenter_did_not_say_is_reported_and_keeps_no_vm_from_being_counted() -> None:
    found = reported(run(plan(2), ended=5.0, doubts={"db": Problem("ApplianceError", "404 page not found")}))
    assert "whether 1 moved is not known (db: 404 page not found)" in found.message
    assert "2 of 2 VMs match" in found.message
    assert found.status.last_time == at(0)


def test_which_datacenters_may_still_have_a_vm() -> None:
    reasons = {"DC1": "ApplianceError", "Nowhere": "DatacenterNotFound", "": "Forbidden"}
    assert run(problems={name: Problem(reason, "x") for name, reason in reasons.items()}).unlisted == {"DC1"}


MOVE = Move(
    known_of(sample.protected_vm("db"), "vma"),
    DiscoveredVM(InventoryVM(name="db", path="/DC1/vm/x"), "DC1"),
    replaced=False,
)
CREATION = Creation("x", MOVE.seen)
RELABEL = Relabel(MOVE.known, MOVE.seen, {"tier": "gold"})


@pytest.mark.parametrize(
    ("step", "doubts", "off"),
    [
        (MOVE, {}, False),
        (MOVE, {"db": "ApplianceError"}, True),
        (MOVE, {"web": "ApplianceError"}, False),
        (MOVE, {"web": "VCenterRefused"}, True),
        (replace(MOVE, replaced=True), {"web": "VCenterRefused"}, False),
        (CREATION, {"web": "VCenterRefused"}, False),
        (RELABEL, {"db": "VCenterRefused"}, False),
    ],
)
def test_what_an_answer_that_did_not_come_puts_off(step: Step, doubts: dict[str, str], off: bool) -> None:
    going = run(plan(1), doubts={name: Problem(reason, "x") for name, reason in doubts.items()})
    assert going.is_off(step) is off
    assert going.failed is bool(doubts)
    assert run(plan(1), refused={"/DC1/vm/x": "too odd"}).is_off(step)
