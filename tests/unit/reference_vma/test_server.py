"""The contract's calls: answers, oddities, plain-text errors."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.support.waiting import poll
from tests.unit.reference_vma.support import VMA, needs_client

CANARY = "c4n4ry-secret"
HOSTILE = ["../../etc/passwd", 'it\'s "q", json:{}', "a\nb\r\n", "x-disk1-y", "ä" * 127 + "z", "pg%2ftest", " "]
LOGIN = {"vcenter": "vc.example", "username": "backup", "password": "secret"}


def twice(path: str) -> str:
    return quote(quote(path, safe=""), safe="")


def discover(vma: VMA, **changes: Any) -> httpx.Response:
    return vma.http.post("/api/v1/discover", json={**LOGIN, "datacenter": "DC1", **changes})


def cbt_status(vma: VMA, path: str, **changes: str) -> httpx.Response:
    return vma.http.get(f"/api/v1/vms/{twice(path)}/cbt-status", params={**LOGIN, **changes})


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"job_id": ""}, 400, "Validation failed: job_id is required"),
        ({"vcenter_password": ""}, 400, "Validation failed: vcenter_password is required"),
        ({"nbd_targets": ""}, 400, "Validation failed: nbd_targets is required"),
        ({"backup_type": "incremental"}, 400, "Validation failed: previous_change_id is required"),
        ({"backup_type": "differential"}, 400, "Validation failed: backup_type"),
        ({"job_id": "job-1"}, 400, "Validation failed: job_id"),
        ({"job_id": 7}, 400, "Invalid request: "),
        ({"nbd_targets": "2000"}, 500, "Command build failed: "),
        ({"job_id": "backup-" + "x" * 238}, 500, "Process start failed: "),
        ({"job_id": "backup-a/b"}, 500, "Process start failed: "),
    ],
)
def test_start_is_validated(vma: VMA, changes: dict[str, Any], status: int, text: str) -> None:
    body: dict[str, Any] = vma.body("/DC1/vm/x", "2000:nbd://127.0.0.1:1/x-disk0") | changes
    answer = vma.http.post("/api/v1/backup/start", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert answer.text.startswith(text)
    assert vma.http.get("/_control/jobs").json() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5000])
def test_start_with_what_is_no_object(vma: VMA, body: bytes) -> None:
    answer = vma.http.post("/api/v1/backup/start", content=body)
    assert (answer.status_code, answer.text[:17]) == (400, "Invalid request: ")


@needs_client
@pytest.mark.parametrize("doom", [{"vcenter_password": CANARY}, {"vm_path": "/DC1/vm/nobody"}, {}])
def test_start_accepts_what_cannot_work(vma: VMA, doom: dict[str, str]) -> None:
    vm = vma.make_vm("x", {"size": 4096})
    if not doom:
        vma.fault("vcenter", "down")
    body = vma.body(vm["path"], "2000:nbd://127.0.0.1:1/x-disk0") | doom
    answer = vma.http.post("/api/v1/backup/start", json=body)
    assert answer.status_code == 200
    assert set(answer.json()) == {"job_id", "status", "message", "started_at", "pid"}
    poll(lambda: vma.log(event="client_exit"))
    assert vma.http.get("/api/v1/progress/backup-1111").status_code == 404
    assert vma.plane.paths == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(vma: VMA, name: str) -> None:
    path = f"/DC1/vm/folder/{name}"
    made = vma.make_vm(name, {"size": 1 << 20, "kind": "random"}, path=path)
    found = discover(vma).json()["vms"]
    assert [(vm["name"], vm["path"], vm["disks"][0]["capacity_bytes"]) for vm in found] == [(name, path, 1 << 20)]
    assert cbt_status(vma, path).json() == {
        "enabled": True,
        "vm_name": "",
        "power_state": "poweredOn",
        "vm_path": path,
    }
    written = vma.http.post(f"/_control/vms/{quote(path, safe='')}/write", json={"ranges": [[512, 512]]})
    assert written.json() == {"ranges": [[2000, 512, 512]]}
    assert (vma.disks / made["folder"]).resolve().is_relative_to(vma.disks.resolve())
    assert vma.http.delete(f"/_control/vms/{quote(path, safe='')}").status_code == 204
    assert vma.http.get("/_control/vms").json() == []


def test_cbt_status_needs_the_path_escaped_twice(vma: VMA) -> None:
    vma.make_vm("x", {"size": 4096})
    once = vma.http.get(f"/api/v1/vms/{quote('/DC1/vm/x', safe='')}/cbt-status", params=LOGIN)
    assert (once.status_code, once.text) == (404, "404 page not found\n")
    assert cbt_status(vma, "/DC1/vm/x").status_code == 200


@pytest.mark.parametrize(
    ("fault", "changes", "text"),
    [
        ("", {"password": CANARY}, "incorrect user name or password"),
        ("", {"username": "root"}, "incorrect user name or password"),
        ("password", {}, "incorrect user name or password"),
        ("down", {}, "connection refused"),
    ],
)
def test_preflight_says_vcenters_own_words(vma: VMA, fault: str, changes: dict[str, str], text: str) -> None:
    vma.make_vm("x", {"size": 4096})
    if fault:
        vma.fault("vcenter", fault)
    for answer in (cbt_status(vma, "/DC1/vm/x", **changes), discover(vma, **changes)):
        assert (answer.status_code, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
        assert text in answer.text
        assert CANARY not in answer.text


def test_unknown_vm_and_datacenter(vma: VMA) -> None:
    vma.make_vm("x", {"size": 4096})
    assert "vm '/DC1/vm/y' not found" in cbt_status(vma, "/DC1/vm/y").text
    assert "datacenter 'DC9' not found" in discover(vma, datacenter="DC9").text
    assert discover(vma, datacenter="").status_code == 500
    assert discover(vma, filter="zzz").json()["vms"] == []


def test_cbt_is_turned_on_by_the_first_job(vma: VMA) -> None:
    vm = vma.make_vm("x", {"size": 4096}, cbt=False)
    assert cbt_status(vma, vm["path"]).json()["enabled"] is False
    vma.http.post("/api/v1/backup/start", json=vma.body(vm["path"], "2000:nbd://127.0.0.1:1/x-disk0"))
    assert cbt_status(vma, vm["path"]).json()["enabled"] is True


def test_discovered_disks(vma: VMA) -> None:
    vma.make_vm("x", *({"key": 2000 + at, "size": (3 << 29) + 512 * at} for at in range(17)))
    disks = discover(vma).json()["vms"][0]["disks"]
    assert [disk["id"] for disk in disks] == [f"disk-{2000 + at}" for at in range(17)]
    assert {disk["size_gb"] for disk in disks} == {2}
    assert disks[0]["unit_number"] == disks[16]["unit_number"]


@pytest.mark.parametrize(
    ("action", "status"), [("delete_snapshot", 500), ("cleanup_all", 200), ("dance", 400), (None, 400)]
)
def test_cleanup(vma: VMA, action: str | None, status: int) -> None:
    answer = vma.http.post("/api/v1/cleanup", json={"job_id": "backup-1", "action": action})
    assert answer.status_code == status
    assert status != 500 or "not implemented" in answer.text


def test_health(vma: VMA) -> None:
    reported = [vma.http.get("/api/v1/health").json() for _ in range(2)]
    assert set(reported[0]) == {"status", "timestamp", "uptime"}
    # Of the call, not of the service: always below a second, and never growing with it.
    assert all(re.fullmatch(r"\d{1,9}ns", one["uptime"]) for one in reported)


@pytest.mark.parametrize(
    ("on", "mode"),
    [
        pytest.param(on, mode, marks=[needs_client] if (on, mode) == ("start", "slow") else [])
        for on in ("start", "discover", "cbt-status", "health", "progress", "cleanup")
        for mode in ("error", "garbage", "no-answer", "slow")
    ],
)
def test_endpoint_faults(vma: VMA, on: str, mode: str) -> None:
    vm = vma.make_vm("x", {"size": 4096})
    calls = {
        "start": ("POST", "/api/v1/backup/start", vma.body(vm["path"], "2000:nbd://127.0.0.1:1/x-disk0")),
        "discover": ("POST", "/api/v1/discover", {**LOGIN, "datacenter": "DC1"}),
        "cbt-status": ("GET", f"/api/v1/vms/{twice(vm['path'])}/cbt-status?username=backup&password=secret", None),
        "health": ("GET", "/api/v1/health", None),
        "progress": ("GET", "/api/v1/progress/backup-1", None),
        "cleanup": ("POST", "/api/v1/cleanup", {"job_id": "backup-1", "action": "cleanup_all"}),
    }
    method, path, body = calls[on]
    vma.fault(on, mode, count=1, seconds=0.05)
    if mode == "no-answer":
        with pytest.raises(httpx.ReadTimeout):
            vma.http.request(method, path, json=body, timeout=0.5)
        assert vma.log(kind="received")[-1]["status"] is None
    else:
        answer = vma.http.request(method, path, json=body)
        expected = {"error": 500, "garbage": 200, "slow": 404 if on == "progress" else 200}[mode]
        assert answer.status_code == expected
        assert (mode == "garbage") == answer.text.startswith("<html")
    assert len(vma.http.get("/_control/jobs").json()) == (on == "start" and mode == "slow")
    assert vma.http.get("/_control/faults").json()[0]["hits"] == 1
    assert vma.http.request(method, path, json=body).text[:5] != "<html"


@needs_client
@pytest.mark.parametrize("mode", ["accept-no-answer", "accept-garbage"])
def test_a_start_whose_answer_is_lost(vma: VMA, mode: str) -> None:
    vm = vma.make_vm("x", {"size": 4096})
    vma.fault("start", mode, vm="x")
    body = vma.body(vm["path"], "2000:nbd://127.0.0.1:1/x-disk0")
    if mode == "accept-garbage":
        assert vma.http.post("/api/v1/backup/start", json=body).text.startswith("<html")
    else:
        with pytest.raises(httpx.ReadTimeout):
            vma.http.post("/api/v1/backup/start", json=body, timeout=1)
    assert len(vma.http.get("/_control/jobs").json()) == 1


@needs_client
def test_credentials_are_nowhere(vma: VMA, capfd: pytest.CaptureFixture[str]) -> None:
    vm = vma.make_vm("x", {"size": 4096})
    vma.http.patch("/_control/settings", json={"vcenter_password": CANARY})
    body = vma.body(vm["path"], "2000:nbd://127.0.0.1:1/x-disk0", vcenter_password=CANARY)
    assert vma.http.post("/api/v1/backup/start", json=body).status_code == 200
    assert cbt_status(vma, vm["path"], password=CANARY).status_code == 200
    assert discover(vma, password=CANARY).status_code == 200
    vma.http.post("/api/v1/backup/start", json=body | {"job_id": 1})
    vma.http.post("/api/v1/discover", content=b"{" + CANARY.encode())
    vma.event("client_exit")
    shown = [vma.http.get(f"/_control/{what}").text for what in ("log", "settings", "jobs", "faults", "vms")]
    captured = capfd.readouterr()
    assert CANARY not in json.dumps([*shown, captured.out, captured.err])
    started = vma.log(kind="received", path="/backup/start")[0]
    assert (started["job_id"], started["vm"], started["status"]) == ("backup-1111", vm["path"], 200)
