"""Real copies by the client process into qemu-nbd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import poll
from tests.unit.reference_vma.support import VMA, Export, needs_tools

pytestmark = needs_tools

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


@pytest.fixture
def small(vma: VMA) -> dict[str, Any]:
    """A VM of one small disk."""
    return vma.make_vm("small", {"size": 8 * MIB, "kind": "random"})


def test_a_stranger_uuid_makes_a_full_after_two_asks(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    export = make_export(8 * MIB)
    assert increment(vma, small, [export], ["52 aa-bb/1"], "backup-2")["completed"] == [0]
    assert [ask["disk_id"] for ask in vma.plane.asks] == ["0", "0"]
    assert export.same_as(vma.file(small))


@pytest.mark.parametrize(
    ("status", "answer"), [(404, None), (500, None), (200, b"<html>"), (200, b'{"change_id": 7}'), (200, b"[]")]
)
def test_what_is_no_answer_makes_a_full_after_one_ask(
    vma: VMA, small: dict[str, Any], make_export: MakeExport, status: int, answer: bytes | None
) -> None:
    vma.plane.ask_status, vma.plane.ask_answer = status, answer
    assert back_up(vma, small, [make_export(8 * MIB)])["completed"] == [0]
    assert len(vma.plane.asks) == 1


def test_a_wrong_number_ends_the_job(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    base = make_export(8 * MIB)
    back_up(vma, small, [base])
    uuid = vma.plane.completes[0]["change_id"].split("/")[0]
    job = increment(vma, small, overlays(small, [base], make_export), [f"{uuid}/99"], "backup-2")
    assert (job["state"], job["completed"]) == ("failed", [])
    assert len(vma.plane.asks) == 3


def test_a_forgotten_change_id_ends_the_job(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    base = make_export(8 * MIB)
    back_up(vma, small, [base])
    parent = vma.plane.completes[0]["change_id"]
    assert vma.http.post("/_control/vms/small/forget-change-ids", json={"key": 2000}).status_code == 204
    job = increment(vma, small, overlays(small, [base], make_export), [parent], "backup-2")
    assert (job["state"], job["completed"]) == ("failed", [])


def test_an_unchanged_disk_keeps_its_number_and_moves_no_byte(
    vma: VMA, small: dict[str, Any], make_export: MakeExport
) -> None:
    base = make_export(8 * MIB)
    back_up(vma, small, [base])
    parent = vma.plane.completes[0]["change_id"]
    assert increment(vma, small, overlays(small, [base], make_export), [parent], "backup-2")["bytes"] == 0
    assert vma.plane.completes[1]["change_id"] == parent


@pytest.mark.parametrize("status", [201, 204, 404, 410, 500])
def test_only_200_goes_on_to_the_next_disk(vma: VMA, make_export: MakeExport, status: int) -> None:
    vm = vma.make_vm("two", {"size": MIB, "kind": "random"}, {"size": MIB, "kind": "random"})
    vma.plane.complete_status = status
    job = back_up(vma, vm, [make_export(MIB, 0), make_export(MIB, 1)])
    assert (job["state"], len(vma.plane.completes)) == ("failed", 1)
    assert vma.http.get("/_control/vms/two").json()["snapshots"] == []
    # "completed" although the job failed, and no word of an error
    progress = vma.http.get("/api/v1/progress/backup-1111").json()
    assert (progress["status"], progress["errors"]) == ("completed", [])


def test_trusting_zero_writes_loses_what_lies_between_the_samples(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm("sly", {"size": 40 * MIB + 512, "kind": "hidden"})
    trusting, refusing = make_export(40 * MIB + 512, zeroes=True), make_export(40 * MIB + 512)
    back_up(vma, vm, [trusting], job_id="backup-trusting")
    back_up(vma, vm, [refusing], job_id="backup-refusing")
    assert not trusting.same_as(vma.file(vm))
    assert refusing.same_as(vma.file(vm))
    assert [entry["job_id"] for entry in vma.log(event="zero_refused")] == ["backup-refusing"]


def test_the_copy_is_of_the_snapshot(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    before = vma.file(small).read_bytes()
    vma.fault("client", "rate", bytes_per_second=4 * MIB)
    export = make_export(8 * MIB)
    vma.start(small, [export])
    vma.event("disk_started")
    vma.http.post("/_control/vms/small/write", json={"ranges": [[0, 8 * MIB]], "seed": 9})
    assert vma.ended()["completed"] == [0]
    export.stop()
    assert not export.same_as(vma.file(small))
    vma.file(small).write_bytes(before)
    assert export.same_as(vma.file(small))


def test_idle_connections_outlive_the_complete_call(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm("two", {"size": MIB, "kind": "random"}, {"size": 8 * MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=4 * MIB)
    exports = [make_export(MIB, 0), make_export(8 * MIB, 1)]
    vma.start(vm, exports)
    poll(lambda: len(vma.plane.completes) == 1)
    vma.event("disk_started")
    assert connections(exports[0]) == 1
    poll(lambda: connections(exports[1]) == 2)
    vma.ended()
    assert connections(exports[0]) == 0


def connections(export: Export) -> int:
    """Established connections of an export's server side."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{export.port:04X}") and row[3] == "01" for row in rows)


def test_a_server_for_one_client_hangs_it(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    vma.start(small, [make_export(8 * MIB, shared=1)])
    poll(lambda: vma.plane.asks)
    poll(lambda: vma.log(event="snapshot_created"))
    progress = vma.http.get("/api/v1/progress/backup-1111").json()
    assert (progress["phase"], progress["percentage"]) == ("Creating Snapshot", 15.0)
    assert vma.job()["alive"]
    assert not vma.log(event="disk_started")


def test_a_wrong_export_name_ends_it_at_once(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    export = make_export(8 * MIB)
    export.name = "other-disk0"
    assert back_up(vma, small, [export])["state"] == "failed"
    assert vma.http.get("/api/v1/progress/backup-1111").json()["phase"] == "Creating Snapshot"


def test_an_export_that_is_too_small_ends_it(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    assert back_up(vma, small, [make_export(4 * MIB)])["state"] == "failed"
    assert vma.plane.completes == []


def test_a_disk_without_a_target_fails_when_its_turn_comes(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm("two", {"size": MIB, "kind": "random"}, {"size": MIB, "kind": "random"})
    job = back_up(vma, vm, [make_export(MIB, 0)])
    assert (job["state"], job["completed"]) == ("failed", [0])


def test_a_lost_server_ends_a_full_after_four_tries(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    vma.fault("client", "rate", bytes_per_second=MIB)
    export = make_export(8 * MIB)
    vma.start(small, [export])
    vma.event("disk_started")
    export.kill()
    assert vma.ended()["state"] == "failed"
    assert max(entry["attempt"] for entry in vma.log(event="write_retry")) == 4
    assert vma.http.get("/api/v1/progress/backup-1111").json()["status"] == "in_progress"
    assert vma.http.get("/_control/vms/small").json()["snapshots"] == []


def test_a_lost_server_deadlocks_an_increment(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    base = make_export(8 * MIB)
    back_up(vma, small, [base])
    vma.http.post("/_control/vms/small/write", json={"ranges": [[0, 8 * MIB]], "seed": 2})
    vma.fault("client", "rate", bytes_per_second=MIB)
    vma.plane.expect_increment([vma.plane.completes[0]["change_id"]])
    export = overlays(small, [base], make_export)[0]
    vma.start(small, [export], job_id="backup-2", backup_type="incremental", previous_change_id="x")
    poll(lambda: vma.log(event="areas"))
    export.kill()
    job = vma.ended("backup-2")
    assert (job["state"], job["alive"]) == ("deadlocked", True)
    reported = len(vma.plane.telemetry)
    poll(lambda: len(vma.plane.telemetry) > reported)
    assert vma.plane.telemetry[-1]["status"] == "running"
    assert len(vma.http.get("/_control/vms/small").json()["snapshots"]) == 1
    # The next job works and removes the snapshot, the process stays.
    assert back_up(vma, small, [make_export(8 * MIB)], job_id="backup-3")["state"] == "done"
    assert vma.http.get("/_control/vms/small").json()["snapshots"] == []
    assert vma.log(event="snapshot_deleted_under_job") == []
    assert vma.job("backup-2")["alive"]
    vma.http.post("/_control/reset")
    assert vma.http.get("/_control/jobs").json() == []


def test_a_second_job_takes_the_first_ones_snapshot(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm("two", {"size": 4 * MIB, "kind": "random"}, {"size": MIB, "kind": "random"})
    vma.fault("client", "rate", bytes_per_second=2 * MIB)
    vma.start(vm, [make_export(4 * MIB, 0), make_export(MIB, 1)], job_id="backup-first")
    vma.event("disk_started")
    second = back_up(vma, vm, [make_export(4 * MIB, 0), make_export(MIB, 1)], job_id="backup-second")
    assert second["state"] == "done"
    assert vma.event("snapshot_deleted_under_job")["victim"] == "backup-first"
    assert vma.ended("backup-first")["completed"] == [0]


def test_one_id_twice_is_two_writers_under_one_record(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    vma.fault("client", "rate", bytes_per_second=4 * MIB, count=2)
    exports = [make_export(8 * MIB), make_export(8 * MIB)]
    vma.start(small, exports[:1])
    vma.event("disk_started")
    vma.start(small, exports[1:])
    poll(lambda: len(vma.plane.completes) == 2)
    assert len({job["pid"] for job in vma.http.get("/_control/jobs").json()}) == 2


@pytest.mark.parametrize(
    ("mode", "params", "state", "completes"),
    [
        ("silent", {}, "failed", 0),
        ("partial", {"disks": 1}, "failed", 1),
        ("half", {"disk": 1}, "done", 2),
        ("corrupt", {"disk": 0, "offset": 5 * MIB}, "done", 2),
        ("die", {"bytes": 3 * MIB}, "ended", 0),
        ("die", {"bytes": MIB, "disk": 1}, "ended", 1),
        ("no-telemetry", {}, "done", 2),
    ],
)
def test_client_faults(
    vma: VMA, make_export: MakeExport, mode: str, params: dict[str, Any], state: str, completes: int
) -> None:
    vm = vma.make_vm("two", {"size": 8 * MIB, "kind": "random"}, {"size": 8 * MIB, "kind": "random"})
    vma.fault("client", mode, vm="two", **params)
    exports = [make_export(8 * MIB, 0), make_export(8 * MIB, 1)]
    job = back_up(vma, vm, exports)
    assert (job["state"], len(vma.plane.completes)) == (state, completes)
    whole = [export.same_as(vma.file(vm, at)) for at, export in enumerate(exports)]
    assert whole == {"half": [True, False], "corrupt": [False, True], "no-telemetry": [True, True]}.get(
        mode, [completes > 0, False]
    )
    assert mode not in ("silent", "no-telemetry") or not vma.plane.telemetry


def test_commands_reach_a_running_client(vma: VMA, small: dict[str, Any], make_export: MakeExport) -> None:
    vma.fault("client", "rate", bytes_per_second=MIB)
    vma.start(small, [make_export(8 * MIB)])
    vma.event("disk_started")
    for command in ({"command": "pause"}, {"command": "rate", "bytes_per_second": 0}, {"command": "deadlock"}):
        assert vma.http.post("/_control/jobs/backup-1111/command", json=command).json() == {"sent": 1}
    assert vma.ended()["state"] == "deadlocked"
    vma.http.post("/_control/jobs/backup-1111/command", json={"command": "term"})
    poll(lambda: not vma.job()["alive"])
    assert len(vma.http.get("/_control/vms/small").json()["snapshots"]) == 1


def test_a_running_copy_is_seen(vma: VMA, make_export: MakeExport) -> None:
    vm = vma.make_vm("big", {"size": 1 << 30, "kind": "empty"})
    assert vma.http.get("/api/v1/progress/backup-1111").status_code == 404
    vma.fault("client", "rate", bytes_per_second=400 * MIB)
    vma.start(vm, [make_export(1 << 30)])
    record = poll(lambda: running(vma))
    assert (record["phase"], record["sync_type"], record["total_bytes"]) == ("Transfer", "full", 1 << 30)
    assert vma.ended()["state"] == "done"
    assert vma.plane.telemetry[-1]["disks"] == []
    assert {"running"} <= {body["status"] for body in vma.plane.telemetry}


def running(vma: VMA) -> dict[str, Any] | None:
    answer = vma.http.get("/api/v1/progress/backup-1111")
    record: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return record if 0 < record.get("bytes_transferred", 0) < record["total_bytes"] else None
