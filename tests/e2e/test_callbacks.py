"""Calls that no appliance of ours would make: answered as the contract says or refused, and nothing else moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support import images, setup
from tests.support.kube import ApiError
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

UNKNOWN = "backup-00000000-0000-4000-8000-000000000000"
PATIENCE = 5
"""Seconds. The gateway holds a call whose worker it can't find for longer: the worker may be about to start."""
TO_THE_END = 150
"""Seconds, in which such a call is answered (`gateway.holdSeconds` is 60)."""
HELD = 0
HUNG_UP = -1
Call = Callable[..., int]


@pytest.fixture
def call(space: Workspace) -> Iterator[Call]:
    """The gateway's status for a call through the API server's proxy; or HELD after `patience` seconds, or HUNG_UP."""
    gateway = setup.gateway_service(space.kube, space.operator)
    base = f"api/v1/namespaces/{space.operator}/services/{gateway}/proxy"

    def called(method: str, path: str, *, patience: float = PATIENCE, **options: Any) -> int:
        try:
            return space.kube.request(method, f"{base}{path}", timeout=patience, **options).status_code
        except ApiError as error:
            return error.code
        except httpx.ReadTimeout:
            return HELD
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            return HUNG_UP

    yield called


@pytest.fixture
def running(space: Workspace) -> Workspace:
    """A backup in the middle of its copy, of two disks, for some minutes unless it is let go."""
    space.ready(Disk("random", 32 * MIB), Disk("pattern", 4 * MIB))
    space.vma.fault("client", "rate", bytes_per_second=MIB // 8)
    space.backup()
    space.wait_copying()
    return space


def base_of(space: Workspace) -> str:
    """Return the path of the appliance's callbacks, secret part included."""
    return urlsplit(space.status("vma", "VMwareAppliance")["callbackURL"]).path


def complete(space: Workspace, job: str) -> str:
    return f"{base_of(space)}/api/v1/backups/{job}/complete"


def body(disk: Any = 0, change_id: Any = "52 de/1", moved: Any = 0) -> str:
    return json.dumps({"change_id": change_id, "disk_id": disk, "bytes_transferred": moved})


def test_hostile_calls_leave_a_running_backup_alone(running: Workspace, call: Call) -> None:
    job = running.status()["jobID"]
    mine = complete(running, job)
    json_type = {"Content-Type": "application/json"}
    elsewhere = f"/api/v1/backups/{job}/complete"
    refused = {
        "wrong disk": call("POST", mine, content=body(7), headers=json_type),
        "not its turn": call("POST", mine, content=body(1), headers=json_type),
        "negative disk": call("POST", mine, content=body(-1), headers=json_type),
        "a disk of text": call("POST", mine, content=body("0; rm -rf"), headers=json_type),
        "no JSON": call("POST", mine, content="{" * 100, headers=json_type),
        "a list": call("POST", mine, content="[]", headers=json_type),
        "nothing": call("POST", mine, content="", headers=json_type),
        "no UTF-8": call("POST", mine, content=b"\xff\xfe\x00", headers=json_type),
        "deep": call("POST", mine, content="[" * 100_000, headers=json_type),
        "huge": call("POST", mine, content=b"x" * (MIB // 2), headers=json_type),
        "no appliance": call("POST", elsewhere, content=body()),
        "a job that is none": call("POST", complete(running, "pgtest1"), content=body()),
        "a path": call("POST", complete(running, "..%2f..%2fetc"), content=body()),
        "another method": call("DELETE", mine),
        "another path": call("GET", f"{base_of(running)}/api/v1/secrets"),
        "a long path": call("GET", f"{base_of(running)}/{'x' * 5000}"),
        "no VM": call("GET", f"{base_of(running)}/api/v1/backups/changeid"),
    }
    assert {name: code for name, code in refused.items() if not 400 <= code < 500} == {}
    # Of one that never ends the gateway hangs up on the caller, who may be the proxy in between.
    assert call("POST", mine, content=b"x" * (16 * MIB), headers=json_type) in (413, 502, 503, HUNG_UP)
    former = f"/appliances/{running.namespace}/vma"
    for base in (f"/appliances/{running.namespace}/other", "/appliances/default/vma", former, f"{base_of(running)}x"):
        assert call("POST", base + elsewhere, content=body()) == httpx.codes.NOT_FOUND, base
    ask = f"{base_of(running)}/api/v1/backups/changeid?vm_name=vm&disk_id=0"
    assert call("GET", ask) == httpx.codes.OK
    _completes(running)


def test_an_unknown_job_is_never_answered_with_200(running: Workspace, call: Call) -> None:
    """Its `complete` is held for a while, then refused."""
    with ThreadPoolExecutor(2) as pool:
        unknown = pool.submit(call, "POST", complete(running, UNKNOWN), content=body(), patience=TO_THE_END)
        path = f"{base_of(running)}/api/v1/telemetry/backup/{UNKNOWN}"
        telemetry = pool.submit(call, "POST", path, content="{}", patience=TO_THE_END)
        assert (unknown.result(), telemetry.result()) == (httpx.codes.NOT_FOUND, httpx.codes.NOT_FOUND)
    _completes(running)


def test_a_flood_of_calls(running: Workspace, call: Call) -> None:
    """Whatever becomes of them, the running backup gets through."""
    with ThreadPoolExecutor(48) as pool:
        paths = [complete(running, UNKNOWN.replace("0000-4000", f"{n:04x}-4000")) for n in range(300)]
        answers = [pool.submit(call, "POST", path, content=body()) for path in paths]
        _completes(running)
        assert all(answer.result() != httpx.codes.OK for answer in answers)
    running.backup("afterwards")
    running.wait_phase("Completed", "afterwards")


def _completes(space: Workspace) -> None:
    """It was in the middle of its copy until now, and goes on as if nothing had been."""
    (job,) = space.vma.jobs()
    assert (job["alive"], job["completed"]) == (True, [])
    space.vma.command(job["job_id"], "rate", bytes_per_second=1 << 30)
    space.wait_phase("Completed")
    images.assert_identical(space)
    assert len(space.vma.starts()) == 1


def test_callbacks_at_the_url_of_another_object(space: Workspace) -> None:
    """Named within seconds, though the call itself is held for a minute: in the Backup, and of its appliance."""
    space.ready(Disk("pattern", 4 * MIB))
    space.add_appliance("other", connect=False)
    space.connect("other")
    space.backup()
    said = space.wait_reason("CallbacksElsewhere")
    assert "callback URL of VMwareAppliance other" in said
    wait_for("an Event of the appliance", lambda: _tells_of_other(space), timeout=30)
    assert find_condition(space.status("vma", "VMwareAppliance"), "CallbacksArrive")["status"] == "False"
    space.connect()
    space.kube.delete("Backup", "backup", space.namespace)


def _tells_of_other(space: Workspace) -> None:
    reported = [(kind, reason) for kind, reason, _ in space.story("vma", "VMwareAppliance")]
    until(("Warning", "CallbacksElsewhere") in reported, reported)
