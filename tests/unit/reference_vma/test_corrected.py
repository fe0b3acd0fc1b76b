"""Builds that were corrected: each of the reference VMA's modes by itself."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.waiting import poll
from tests.unit.reference_vma.support import VMA, Export, needs_tools
from tests.unit.reference_vma.test_client import MIB, MakeExport, back_up, increment, overlays


def correct(vma: VMA, **settings: Any) -> None:
    """Change its settings."""
    vma.http.patch("/_control/settings", json=settings).raise_for_status()


@pytest.mark.parametrize("setting", [{"zeroes": "maybe"}, {"asks": "one"}, {"callbacks": "twice"}, {"asks": 1}])
def test_modes_that_there_are_not(vma: VMA, setting: dict[str, Any]) -> None:
    assert vma.http.patch("/_control/settings", json=setting).status_code == 422


@needs_tools
def test_exact_zeroes_lose_nothing(vma: VMA, make_export: MakeExport) -> None:
    correct(vma, zeroes="exact")
    size = 40 * MIB + 512
    for kind in ("hidden", "empty"):
        vm = vma.make_vm(kind, {"size": size, "kind": kind})
        export = make_export(size, zeroes=True)
        back_up(vma, vm, [export], job_id=f"backup-{kind}")
        assert export.same_as(vma.file(vm))


@needs_tools
def test_each_ask_names_its_disk(vma: VMA, make_export: MakeExport) -> None:
    correct(vma, asks="own")
    vm = vma.make_vm("two", {"size": MIB, "kind": "random"}, {"size": 2 * MIB, "kind": "random"})
    fulls = [make_export(MIB, 0), make_export(2 * MIB, 1)]
    back_up(vma, vm, fulls)
    assert [ask["disk_id"] for ask in vma.plane.asks] == ["0", "1"]
    parents = [body["change_id"] for body in vma.plane.completes]
    vma.http.post("/_control/vms/two/write", json={"count": 5, "seed": 3})
    layers = overlays(vm, fulls, make_export)
    assert increment(vma, vm, layers, parents, "backup-2")["completed"] == [0, 1]
    assert [ask["disk_id"] for ask in vma.plane.asks] == ["0", "0", "0", "1", "1", "1"]
    assert all(layer.same_as(vma.file(vm, at)) for at, layer in enumerate(layers))


@needs_tools
def test_callbacks_are_repeated_until_they_are_answered(vma: VMA, make_export: MakeExport) -> None:
    correct(vma, callbacks="repeated", retry_seconds=0.05)
    vm = vma.make_vm("one", {"size": MIB, "kind": "random"})
    export: Export = make_export(MIB)
    vma.plane.ask_status = 503
    assert vma.start(vm, [export]).status_code == 200
    poll(lambda: len(vma.plane.asks) >= 3)
    vma.plane.complete_status = 502
    vma.plane.ask_status = 200
    poll(lambda: len(vma.plane.completes) >= 3)
    vma.plane.complete_status = 200
    assert vma.ended()["completed"] == [0]
    assert {body["change_id"] for body in vma.plane.completes} == {vma.plane.completes[0]["change_id"]}


@needs_tools
def test_a_cancelled_job_is_not_requested_again(vma: VMA, make_export: MakeExport) -> None:
    correct(vma, callbacks="repeated", retry_seconds=0.05)
    vm = vma.make_vm("one", {"size": MIB, "kind": "random"})
    vma.plane.complete_status = 410
    vma.start(vm, [make_export(MIB)])
    assert vma.ended()["state"] == "failed"
    assert len(vma.plane.completes) == 1
