"""A full and increments of two disks with each thing that an appliance can be trusted with, and with all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.rig import Bench, Vma
from tests.dataplane.test_incremental import INCREMENTS, MIB, Points, kinds

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
    """What the worker is told of the appliance, which is a build of that kind."""
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
