"""Real copies by the client process into qemu-nbd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.reference_vma.support import VMA, Export, can_copy

pytestmark = pytest.mark.skipif(not can_copy(), reason="needs qemu-utils and python3-libnbd")

MIB = 1 << 20
MakeExport = Callable[..., Export]


def back_up(vma: VMA, vm: dict[str, Any], exports: list[Export], **changes: str) -> dict[str, Any]:
    """Run a job to its end; the exports are closed afterwards, as a worker does."""
    assert vma.start(vm, exports, **changes).status_code == 200
    job = vma.ended(changes.get("job_id", "backup-1111"))
    for export in exports:
        export.stop()
    return job


def overlays(vm: dict[str, Any], bases: list[Export], make_export: MakeExport) -> list[Export]:
    """Exports of empty layers on top of others."""
    sizes = [disk["size"] for disk in vm["disks"]]
    return [make_export(size, at, backing=base.image) for at, (size, base) in enumerate(zip(sizes, bases, strict=True))]


def increment(vma: VMA, vm: dict[str, Any], exports: list[Export], parents: list[str], job_id: str) -> dict[str, Any]:
    vma.plane.expect_increment(parents)
    vma.plane.asks.clear()
    return back_up(vma, vm, exports, job_id=job_id, backup_type="incremental", previous_change_id="any")


def test_full_then_increments_of_two_disks(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm(
        "pgtest1",
        {"key": 2000, "size": 24 * MIB, "kind": "pattern"},
        {"key": 2001, "size": 9 * MIB + 512, "kind": "random"},
    )
    fulls = [make_export(24 * MIB, 0), make_export(9 * MIB + 512, 1)]
    job = back_up(vma, vm, fulls)
    assert (job["state"], job["completed"], job["exit_code"]) == ("done", [0, 1], 0)
    assert [ask["disk_id"] for ask in vma.plane.asks] == ["0", "0"]
    assert {ask["vm_name"] for ask in vma.plane.asks} == {"pgtest1"}
    assert all(export.same_as(vma.file(vm, at)) for at, export in enumerate(fulls))
    assert [set(body) for body in vma.plane.completes] == [{"change_id", "disk_id", "bytes_transferred"}] * 2
    assert all(path.startswith("/appliances/ns/vma/api/v1/") for path in vma.plane.paths)

    parents = [body["change_id"] for body in vma.plane.completes]
    vma.http.post("/_control/vms/pgtest1/write", json={"count": 9, "min_size": 512, "max_size": 65536, "seed": 3})
    layers = overlays(vm, fulls, make_export)
    assert increment(vma, vm, layers, parents, "backup-2")["completed"] == [0, 1]
    assert [ask["disk_id"] for ask in vma.plane.asks] == ["0", "0", "0", "0", "0", "1"]
    assert [event["sync_type"] for event in vma.log(event="disk_started")][-2:] == ["incremental"] * 2
    assert all(layer.same_as(vma.file(vm, at)) for at, layer in enumerate(layers))
    assert sum(event["bytes"] for event in vma.log(event="areas")) < 33 * MIB
    assert [body["change_id"].split("/")[1] for body in vma.plane.completes[2:]] == ["2", "2"]
