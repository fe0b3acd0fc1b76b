"""A full and increments of two disks with each thing that an appliance can be trusted with, and with all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.gateway import LossyGateway, lossy_gateway
from tests.dataplane.rig import Bench
from tests.dataplane.test_incremental import INCREMENTS, MIB, Points, kinds
from tests.dataplane.vma import Vma

from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.reconcile.backups import backup_task
from sendense_operator.task import BackupType, FullReason

MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "field": ({}, {}),
    "zeroes": ({"zeroes": "exact"}, {"zeroWrites": "Trust"}),
    "asks": ({"asks": "own"}, {"changeIdAsks": "OwnDisk"}),
    "callbacks": ({"callbacks": "repeated", "retry_seconds": 0.5}, {"callbackRetries": "UntilAnswered"}),
    "asks, not trusted": ({"asks": "own"}, {}),
    "callbacks, not trusted": ({"callbacks": "repeated", "retry_seconds": 0.5}, {}),
}
MODES["all"] = (
    {key: value for settings, _ in MODES.values() for key, value in settings.items()},
    {key: value for _, traits in MODES.values() for key, value in traits.items()},
)


@pytest.fixture(params=MODES)
def traits(request: pytest.FixtureRequest, vma: Vma) -> dict[str, Any]:
    """What the worker receives of the appliance, which is a build of that kind."""
    settings, traits = MODES[request.param]
    vma.call("PATCH", "settings", settings)
    return traits


def points_of(bench: Bench, vma: Vma, folder: Path, *disks: dict[str, Any]) -> Points:
    return Points(bench, vma, folder, vma.make_vm(*disks))


def test_a_full_and_its_increments(traits: dict[str, Any], bench: Bench, vma: Vma, tmp_path: Path) -> None:
    """`hidden`: what an appliance that guesses at zeroes would lose, were its zeroes trusted."""
    hidden = {"size": 20 * MIB + 512, "kind": "hidden"}
    points = points_of(bench, vma, tmp_path, hidden, {"size": 9 * MIB, "kind": "pattern"})
    points.back_up(type="Full", appliance=traits)
    for seed in (1, 2):
        points.write(5, 65536, seed=seed)
        assert kinds(points.back_up(appliance=traits)) == INCREMENTS
    points.assert_all_read_back()


def test_a_disk_that_vcenter_replaced(traits: dict[str, Any], bench: Bench, vma: Vma, tmp_path: Path) -> None:
    points = points_of(bench, vma, tmp_path, *[{"size": 6 * MIB, "kind": "random"}] * 2)
    points.back_up(type="Full", appliance=traits)
    vma.call("POST", f"vms/{points.vm['name']}/reset-cbt")
    assert kinds(points.back_up(appliance=traits)) == [(BackupType.FULL, FullReason.CBT_RESET)] * 2
    points.assert_all_read_back()


RETRY = 3
"""Seconds after which the VMA makes a call again."""
REPORTED = {
    "url": "http://vma.example:8081",
    "vcenter": {"host": "vc", "credentialsSecretRef": {"name": "vcenter"}},
    "timeouts": {"reconnectSeconds": RETRY // 2, "stallSeconds": 120},
}
"""An appliance that may be silent for less time than it takes to call again."""
TWO = [{"size": 4 * MIB, "kind": "random"}] * 2


@pytest.fixture
def gateway(bench: Bench, vma: Vma) -> Iterator[LossyGateway]:
    """Between the worker and a VMA that makes its calls again until they are answered."""
    with lossy_gateway(bench.status_port) as (url, gateway):
        vma.call("PATCH", "settings", {"control_plane": url, "callbacks": "repeated", "retry_seconds": RETRY})
        yield gateway


def repeating(retries: str) -> dict[str, Any]:
    """For a task: what its worker receives of an appliance with that trait."""
    appliance = VMwareApplianceSpec.model_validate({**REPORTED, "traits": {"callbackRetries": retries}})
    clocks = backup_task._clocks(appliance).model_dump(include={"reconnect", "stall"})
    return {"appliance": {"callbackRetries": retries}, "clocks": {**clocks, "cancel": 1}}


@pytest.mark.parametrize("arrives", [False, True], ids=["call lost", "answer lost"])
def test_a_complete_that_fails_once(gateway: LossyGateway, bench: Bench, vma: Vma, arrives: bool) -> None:
    vm = vma.make_vm(*TWO)
    gateway.fail_once("/complete", arrives=arrives)
    answer = bench.run(bench.task(vm, **repeating("UntilAnswered")))
    assert answer.outcome == "Completed", answer.message
    assert len(gateway.failed) == 1
    bench.assert_identical(vm, answer)


def test_a_complete_that_a_vma_is_not_trusted_to_repeat(gateway: LossyGateway, bench: Bench, vma: Vma) -> None:
    """The worker has it, and takes the silence before the next disk for the client's end."""
    gateway.fail_once("/complete", arrives=True)
    answer = bench.run(bench.task(vma.make_vm(*TWO), **repeating("Never")))
    assert (answer.outcome, answer.reason) == ("Failed", "NextDiskMissing"), answer.message
    assert bench.files() == set()


def test_an_ask_that_fails_once(gateway: LossyGateway, bench: Bench, vma: Vma, tmp_path: Path) -> None:
    """The worker has seen one request more than it took then: it must not count on their number."""
    reported = repeating("UntilAnswered")
    points = points_of(bench, vma, tmp_path, *[{"size": 6 * MIB, "kind": "random"}] * 2)
    points.back_up(type="Full", **reported)
    points.write(3, 65536, seed=1)
    gateway.fail_once("/changeid", arrives=True)
    assert kinds(points.back_up(**reported)) == INCREMENTS
    vma.call("POST", f"vms/{points.vm['name']}/reset-cbt")
    gateway.fail_once("/changeid", arrives=True)
    assert kinds(points.back_up(**reported)) == [(BackupType.FULL, FullReason.CBT_RESET)] * 2
    assert len(gateway.failed) == 2
    points.assert_all_read_back()
