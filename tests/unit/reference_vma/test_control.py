"""The control API: what tests steer the reference with."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.reference_vma.support import VMA


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"on": "start", "mode": "explode"},
        {"on": "moon", "mode": "error"},
        {"on": "client", "mode": "die", "bites": 3},
        {"on": "client", "mode": "die", "bytes": "3"},
        {"on": "client", "mode": "die", "count": -1},
    ],
)
def test_bad_faults_are_refused(vma: VMA, fault: dict[str, Any]) -> None:
    assert vma.http.post("/_control/faults", json=fault).status_code == 422
    assert vma.http.get("/_control/faults").json() == []


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"name": 3},
        {"name": "x", "disks": 3},
        {"name": "x", "disks": [{"size": 0}]},
        {"name": "x", "disks": [{"size": 513}]},
        {"name": "x", "disks": [{"size": 512, "kind": "odd"}]},
        {"name": "x", "disks": [{"size": 512, "key": 1}, {"size": 512, "key": 1}]},
    ],
)
def test_bad_vms_are_refused_and_leave_nothing(vma: VMA, spec: dict[str, Any]) -> None:
    assert vma.http.post("/_control/vms", json=spec).status_code == 422
    assert [*vma.disks.glob("*")] == []


def test_faults_are_used_up_and_removed(vma: VMA) -> None:
    vma.fault("discover", "error", count=2)
    vma.fault("health", "error")
    statuses = [vma.http.post("/api/v1/discover", json={"datacenter": "x"}).text[:8] for _ in range(3)]
    assert statuses == ["Internal", "Internal", "Failed t"]
    assert [vma.http.get("/api/v1/health").status_code for _ in range(3)] == [500] * 3
    faults = vma.http.get("/_control/faults").json()
    assert [(fault["on"], fault["hits"]) for fault in faults] == [("discover", 2), ("health", 3)]
    assert vma.http.delete(f"/_control/faults/{faults[1]['id']}").status_code == 204
    assert vma.http.get("/api/v1/health").status_code == 200
    assert vma.http.delete("/_control/faults/99").status_code == 404
    vma.http.delete("/_control/faults")
    assert vma.http.get("/_control/faults").json() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"control_plane": "http://x"}, 200),
        ({"telemetry_seconds": 1}, 200),
        ({"snapshot": "none"}, 200),
        ({"snapshot": "maybe"}, 422),
        ({"disks": "/"}, 422),
        ({"workers": "3"}, 422),
    ],
)
def test_settings(vma: VMA, change: dict[str, Any], status: int) -> None:
    before = vma.http.get("/_control/settings").json()
    assert vma.http.patch("/_control/settings", json=change).status_code == status
    after = vma.http.get("/_control/settings").json()
    assert after == (before | change if status == 200 else before)
    vma.http.post("/_control/reset")
    assert vma.http.get("/_control/settings").json() == before


def test_the_log_can_be_read_in_parts(vma: VMA) -> None:
    vma.http.get("/api/v1/health")
    vma.http.get("/api/v1/nothing?password=x&a=b")
    whole = vma.http.get("/_control/log").json()
    assert [(entry["path"], entry["status"]) for entry in whole["entries"]] == [
        ("/api/v1/health", 200),
        ("/api/v1/nothing", 404),
    ]
    assert whole["entries"][1]["query"] == "a=b"
    assert vma.log(path="nothing") == whole["entries"][1:]
    assert vma.log(since=str(whole["last"])) == []
    vma.http.delete("/_control/log")
    assert vma.log() == []


def test_vms_may_be_files_that_a_test_made(vma: VMA) -> None:
    folder = vma.disks / "DC2" / "vm" / "prod" / "db1"
    folder.mkdir(parents=True)
    for key in (2001, 2000, 16000):
        (folder / f"disk-{key}.raw").write_bytes(bytes(key))
    (folder / "notes.txt").touch()
    vm = vma.http.get("/_control/vms/db1").json()
    assert (vm["path"], [disk["key"] for disk in vm["disks"]]) == ("/DC2/vm/prod/db1", [2000, 2001, 16000])
    again = vma.http.get("/_control/vms/%2FDC2%2Fvm%2Fprod%2Fdb1").json()
    assert again == vm
    (folder / "vm.json").write_text('{"name": "other", "disks": [{"key": 5, "file": "disk-2001.raw"}]}')
    vm = vma.http.get("/_control/vms/other").json()
    assert (vm["path"], [(disk["key"], disk["size"]) for disk in vm["disks"]]) == ("/DC2/vm/prod/db1", [(5, 2001)])


def test_writes_are_the_same_for_the_same_seed(vma: VMA) -> None:
    bodies = []
    for name in ("a", "b"):
        vm = vma.make_vm(name, {"size": 1 << 20}, {"size": 1 << 20})
        ranges = vma.http.post(f"/_control/vms/{name}/write", json={"count": 5, "min_size": 512, "max_size": 9999})
        bodies.append((ranges.json(), [vma.file(vm, at).read_bytes() for at in range(2)]))
    assert bodies[0] == bodies[1]
    assert {length % 512 for _, _, length in bodies[0][0]["ranges"]} == {0}
    assert vma.http.post("/_control/vms/a/write", json={"ranges": [[1 << 20, 1]]}).status_code == 422
    assert vma.http.post("/_control/vms/a/write", json={"key": 7}).status_code == 422
    vma.http.post("/_control/vms/a/write", json={"key": 2001, "ranges": [[0, 1 << 20]], "fill": "zero"})
    assert not any(vma.file(vma.http.get("/_control/vms/a").json(), 1).read_bytes())


def test_a_vm_with_the_same_path_is_replaced(vma: VMA) -> None:
    vma.make_vm("x", {"size": 512}, {"size": 512})
    vma.make_vm("renamed", {"size": 512}, path="/DC1/vm/x")
    assert [vm["name"] for vm in vma.http.get("/_control/vms").json()] == ["renamed"]


def test_tracking_at_creation_and_reset(vma: VMA) -> None:
    vm = vma.make_vm("x", {"size": 1 << 20, "kind": "random"}, track=True)
    uuid, number = vm["disks"][0]["change_id"].split("/")
    assert (len(uuid), number) == (47, "1")
    assert vma.http.post("/_control/vms/x/reset-cbt").status_code == 204
    assert vma.http.get("/_control/vms/x").json()["disks"][0]["change_id"] == ""
    assert vma.http.post("/_control/vms/x/track").status_code == 204
    again = vma.http.get("/_control/vms/x").json()["disks"][0]["change_id"]
    assert again.endswith("/1")
    assert again.split("/")[0] != uuid


def test_more_appliances_have_nothing_in_common(vma: VMA) -> None:
    http = vma.service
    made = http.put("/_control/appliances/other", json={"control_plane": "http://gateway/a/b"})
    assert (made.json()["path"], made.json()["control_plane"]) == ("/appliance/other", "http://gateway/a/b")
    http.post("/appliance/other/_control/vms", json={"name": "x", "disks": [{"size": 512}]})
    http.post("/appliance/other/_control/faults", json={"on": "health", "mode": "error"})
    assert http.get("/appliance/other/api/v1/health").status_code == 500
    assert vma.http.get("/api/v1/health").status_code == http.get("/api/v1/health").status_code == 200
    assert [vm["path"] for vm in http.get("/appliance/other/_control/vms").json()] == ["/DC1/vm/x"]
    assert vma.http.get("/_control/vms").json() == http.get("/_control/vms").json() == []
    assert len(vma.log(path="/health")) == 1
    assert (vma.disks.parent / "@other/DC1/vm/x/disk-2000.raw").exists()
    changed = http.put("/_control/appliances/other", json={"control_plane": "http://changed"})
    assert changed.json()["control_plane"] == "http://changed"
    assert "other" in http.get("/_control/appliances").json()
    assert http.delete("/_control/appliances/other").status_code == 204
    assert not (vma.disks.parent / "@other").exists()
    assert http.get("/appliance/other/api/v1/health").status_code == 404


@pytest.mark.parametrize(
    ("name", "body", "status"), [("UP", {}, 422), ("a", {"disks": "/"}, 422), ("-a", {}, 422), ("a%2Fb", {}, 404)]
)
def test_bad_appliances_are_refused(vma: VMA, name: str, body: dict[str, Any], status: int) -> None:
    assert vma.service.put(f"/_control/appliances/{name}", json=body).status_code == status


def test_reset_with_vms(vma: VMA) -> None:
    vma.make_vm("x", {"size": 512})
    vma.fault("health", "error")
    vma.http.post("/_control/reset", json={"vms": True})
    assert vma.http.get("/_control/vms").json() == []
    assert vma.http.get("/api/v1/health").status_code == 200
