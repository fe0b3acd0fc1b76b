import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.unit.gateway.rest.described import assert_example
from tests.unit.gateway.rest.rig import CALLS_PER_USER, FULL, NAMESPACE, backup, chain, running, vm

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.authorization import Caller
from sendense_operator.cluster.errors import UnavailableError
from sendense_operator.gateway.rest import examples
from sendense_operator.gateway.rest.rest_app import create_metrics_app
from sendense_operator.logs import AUDIT
from sendense_operator.views.cached_objects import CachedChain, CachedVM

BASE = "/api/v1/backup"
START = examples.REQUESTS["start"]
PATHS = {
    "start": ("POST", f"{BASE}/start"),
    "list": ("GET", f"{BASE}/list"),
    "get": ("GET", f"{BASE}/{FULL}"),
    "chain": ("GET", f"{BASE}/chain?vm_context_id=db01"),
    "consolidate": ("POST", f"{BASE}/consolidate"),
    "delete": ("DELETE", f"{BASE}/{FULL}"),
    "vms": ("GET", "/api/v1/vms"),
}


@pytest.mark.parametrize("operation", sorted(PATHS))
@pytest.mark.parametrize("named", [False, True])
async def test_every_example_is_what_is_answered(operation: str, named: bool) -> None:
    method, path = PATHS[operation]
    if named:
        path = path.replace("/api/v1/", f"/api/v1/namespaces/{NAMESPACE}/")
    async with running(backup()) as rig:
        await assert_example(rig, method, path, {"backup_id": FULL, "namespace": NAMESPACE})


async def test_start_creates_what_was_requested() -> None:
    async with running() as rig:
        answer = await rig.call("POST", f"{BASE}/start", content=json.dumps({**START, "tags": {"note": "two words"}}))
        assert answer.status_code == 202, answer.text
        (obj,) = rig.world.created
        assert obj["spec"] == {"vmRef": {"name": "db01"}, "repositoryRef": {"name": "main"}, "type": "Incremental"}
        assert obj["metadata"]["annotations"] == {"tags.backup.sendense.io/note": "two words"}
        assert answer.json()["tags"] == {"note": "two words"}
        listed = (await rig.call("GET", f"{BASE}/list")).json()
        assert [one["backup_id"] for one in listed["backups"]] == [obj["metadata"]["name"]]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("{", 400, "body is not JSON"),
        ("[" * 60000, 400, "body is not JSON"),
        ("[]", 400, "body must be an object"),
        ("x" * 70000, 400, "body: larger than 65536 bytes"),
        ({"vm_name": None}, 400, "vm_name is required"),
        ({"vm_name": 1}, 400, "vm_name must be a string"),
        ({"vm_context_id": 1}, 400, "vm_context_id must be a string"),
        ({"vm_name": None, "vm_context_id": "other"}, 404, "VM not found"),
        ({"vm_context_id": "DB 01"}, 404, "VM not found"),
        ({"vm_name": ""}, 400, "vm_name is required"),
        ({"backup_type": "copy"}, 400, "backup_type must be one of: full, incremental"),
        ({"disk_id": "0"}, 400, "disk_id must be an integer"),
        ({"disk_id": -1}, 400, "disk_id must be at least 0"),
        ({"disk_id": 1}, 400, "disk_id must be at most 0"),
        ({"tags": {"a b": "c"}}, 400, "tags has a name that cannot be kept"),
        ({"tags": {"a": 1}}, 400, "tags.a must be a string"),
        ({"vm_name": "other"}, 404, "VM not found"),
        ({"vm_name": "../x"}, 404, "VM not found"),
        ({"repository_id": "other"}, 404, "repository not found"),
        ({"backup_id": FULL}, 409, "name taken"),
        ({"backup_id": "chain"}, 400, "backup_id must be none of: chain, consolidate, list, start"),
    ],
)
async def test_wrong_starts(body: Any, status: int, error: str) -> None:
    async with running(backup()) as rig:
        content = body if isinstance(body, str) else json.dumps({**START, **body})
        answer = await rig.call("POST", f"{BASE}/start", content=content)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert set(answer.json()) == {"error", "details", "timestamp"}


@pytest.mark.parametrize("field", ["vm_name", "backup_type", "repository_id"])
async def test_a_missing_field_is_named(field: str) -> None:
    async with running() as rig:
        answer = await rig.call("POST", f"{BASE}/start", json={k: v for k, v in START.items() if k != field})
        assert (answer.status_code, answer.json()["error"]) == (400, f"{field} is required")


async def test_one_disk_of_several_and_ambiguous_names() -> None:
    async with running() as rig:
        rig.world.stores.vms.put(CachedVM.from_object(vm("wide", "wide", disks=2)))
        rig.world.stores.vms.put(CachedVM.from_object(vm("db02", "DB 01")))
        answer = await rig.call("POST", f"{BASE}/start", json={**START, "vm_name": "wide", "disk_id": 0})
        assert (answer.status_code, "several disks" in answer.json()["error"]) == (400, True)
        answer = await rig.call("POST", f"{BASE}/start", json=START)
        assert (answer.status_code, "vm_context_id, one of db01, db02" in answer.json()["details"]) == (409, True)
        for name in ("db01", "db02"):
            answer = await rig.call("POST", f"{BASE}/start", json={**START, "vm_context_id": name})
            assert (answer.status_code, answer.json()["vm_context_id"]) == (202, name)


async def test_a_vm_that_was_made_anew() -> None:
    async with running(backup()) as rig:
        rig.world.stores.vms.put(CachedVM.from_object(vm(vanished=True)))
        rig.world.stores.vms.put(CachedVM.from_object(vm("db01-9f3a", "DB 01")))
        answer = await rig.call("POST", f"{BASE}/start", json=START)
        assert (answer.status_code, answer.json()["vm_context_id"]) == (202, "db01-9f3a")
        reported = (await rig.call("GET", f"{BASE}/chain?vm_name=DB%2001")).json()
        assert (reported["vm_context_id"], reported["backup_count"]) == ("db01", 1)


async def test_restore_points_outlive_the_protected_vm() -> None:
    async with running(backup()) as rig:
        rig.world.stores.vms.remove("uid-vm-db01")
        for query in ("vm_name=DB%2001", "vm_name=db01", "vm_context_id=db01"):
            reported = (await rig.call("GET", f"{BASE}/chain?{query}")).json()
            assert (reported["vm_context_id"], reported["vm_name"], reported["backup_count"]) == ("db01", "DB 01", 1)


CONSOLIDATE = examples.REQUESTS["consolidate"]


async def test_a_consolidation_is_requested_of_the_chain() -> None:
    async with running(backup()) as rig:
        answers = [await rig.call("POST", f"{BASE}/consolidate", json=CONSOLIDATE) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        (first, second) = [patch for _, _, _, patch in rig.world.patched]
        assert [call[:3] for call in rig.world.patched] == [("BackupChain", NAMESPACE, "db01-main-4e8212b9")] * 2
        assert first["metadata"]["uid"] == "uid-chain-db01-main-4e8212b9"
        values = [patch["metadata"]["annotations"][names.ANNOTATION_CONSOLIDATE] for patch in (first, second)]
        assert values == [answer.json()["request"] for answer in answers]
        assert len(set(values)) == 2, "each call is a request of its own"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"vm_name": "DB 01"}, 400, "repository_id is required"),
        ({"repository_id": "main"}, 400, "vm_name is required"),
        ({"vm_name": "other", "repository_id": "main"}, 404, "VM not found"),
        ({"vm_context_id": "db01", "repository_id": "elsewhere"}, 404, "backup chain not found"),
    ],
)
async def test_a_consolidation_that_is_refused(body: dict[str, str], status: int, error: str) -> None:
    async with running(backup()) as rig:
        answer = await rig.call("POST", f"{BASE}/consolidate", json=body)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert rig.world.patched == []


async def test_a_chain_that_is_never_consolidated() -> None:
    async with running(backup()) as rig:
        never = chain(FULL, consolidation={"mode": "Never"})
        rig.world.stores.chains.put(CachedChain.from_object(never))
        answer = await rig.call("POST", f"{BASE}/consolidate", json=CONSOLIDATE)
        assert (answer.status_code, "db01-main-4e8212b9 is Never" in answer.json()["details"]) == (409, True)
        assert rig.world.patched == []


async def test_who_may_consolidate() -> None:
    async with running(backup()) as rig:
        assert (await rig.call("POST", f"{BASE}/consolidate", "reader", json=CONSOLIDATE)).status_code == 403
        assert (await rig.call("POST", f"{BASE}/consolidate", "nobody", content="{")).status_code == 403
        rig.world.granted = {("patch", "")}
        assert (await rig.call("POST", f"{BASE}/consolidate", "owner", json=CONSOLIDATE)).status_code == 403
        rig.world.granted = {("patch", ""), ("list", "")}
        assert (await rig.call("POST", f"{BASE}/consolidate", "owner", json=CONSOLIDATE)).status_code == 202


async def test_a_chain_tells_of_its_consolidation() -> None:
    async with running(backup()) as rig:
        obj = chain(FULL, consolidation={"mode": "Manual"})
        obj["status"]["consolidation"] = {
            "requestTime": "2026-11-23T17:00:00Z", "progress": "starting", "left": "NoRoom", "message": "10 MiB",
        }  # fmt: skip
        rig.world.stores.chains.put(CachedChain.from_object(obj))
        reported = (await rig.call("GET", f"{BASE}/chain?vm_context_id=db01")).json()["consolidation"]
        assert reported == {
            "mode": "Manual", "requested": True, "progress": "starting", "last_consolidation_at": None, "merges": 0,
            "freed_bytes": 0, "left": "NoRoom", "message": "10 MiB",
        }  # fmt: skip


async def test_a_start_by_id_needs_no_right_to_list_vms() -> None:
    async with running(backup()) as rig:
        rig.world.granted = {("create", ""), ("get", "main"), ("get", "db01")}
        body = {**START, "vm_context_id": "db01"}
        assert (await rig.call("POST", f"{BASE}/start", "owner", json=body)).status_code == 202
        assert (await rig.call("POST", f"{BASE}/start", "owner", json=START)).status_code == 403


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("vm_name=DB%2001", 3),
        ("vm_context_id=db01&status=failed", 1),
        ("repository_id=main&backup_type=incremental", 1),
        ("repository_id=main&backup_type=incremental&status=failed", 0),
        ("repository_id=other", 0),
        ("status=", 3),
        ("limit=1&offset=1", 3),
    ],
)
async def test_filters(query: str, count: int) -> None:
    objects = [backup("a"), backup("b", phase="Cancelled"), backup("c", type="Incremental")]
    async with running(*objects) as rig:
        got = (await rig.call("GET", f"{BASE}/list?{query}")).json()
        assert got["total"] == count
        if "limit" in query:
            assert [one["backup_id"] for one in got["backups"]] == ["b"]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (f"{BASE}/list?status=done", 400, "status must be one of: pending, running, completed, failed"),
        *((f"{BASE}/list?limit={text}", 400, "limit must be an integer") for text in ("x", "1.0", "1_0", "%201", "")),
        (f"{BASE}/list?limit={'9' * 5000}", 400, "limit must be an integer"),
        (f"{BASE}/list?limit=1000001", 400, "limit must be at most 1000000"),
        ("/api/v1/vms?offset=0.0", 400, "offset must be an integer"),
        (f"{BASE}/list?offset=-1", 400, "offset must be at least 0"),
        (f"{BASE}/chain", 400, "vm_context_id or vm_name is required"),
        *((f"{BASE}/chain?vm_name=a&disk_id={text}", 400, "disk_id must be an integer") for text in ("x", "0.0")),
        (f"{BASE}/chain?vm_name=db01&disk_id=1", 404, "backup chain not found"),
        (f"{BASE}/chain?vm_context_id=other", 404, "VM not found"),
        (f"{BASE}/other", 404, "backup not found"),
        (f"{BASE}/..%2Fx", 404, "not found"),
        ("/api/v1/namespaces/UP/backup/list", 404, "namespace not found"),
        ("/api/v1/other", 404, "not found"),
        ("/elsewhere", 404, "not found"),
    ],
)
async def test_wrong_reads(path: str, status: int, error: str) -> None:
    async with running(backup()) as rig:
        answer = await rig.call("GET", path)
        assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("token", "operation", "status"),
    [
        *(("", operation, 401) for operation in PATHS),
        ("wrong", "list", 401),
        *(("nobody", operation, 403) for operation in PATHS),
        ("reader", "start", 403),
        ("reader", "delete", 403),
        ("reader", "list", 200),
        ("owner", "get", 200),
        ("owner", "delete", 202),
        ("owner", "list", 403),
    ],
)
async def test_rights(token: str, operation: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with running(backup()) as rig:
        method, path = PATHS[operation]
        options = {"json": START} if method == "POST" else {}
        answer = await rig.call(method, path, token, **options)
        assert answer.status_code == status
        assert rig.world.created == []
        (line,) = [record.getMessage() for record in caplog.records if record.name == AUDIT]
        assert f"status={status}" in line
        assert line.startswith(f"request audit={operation} method={method} ")
        assert f"user={token if status != 401 else '-'}" in line


@pytest.mark.parametrize(
    ("method", "path", "token", "reported"),
    [
        ("GET", f"{BASE}/{FULL}", "wrong", f"audit=get user=- namespace={NAMESPACE} target={FULL} status=401"),
        ("GET", f"{BASE}/list?limit=x&vm_name=a", "admin",
         f"audit=list user=admin namespace={NAMESPACE} target=a status=400"),
        ("POST", f"{BASE}/start", "admin", f"audit=start user=admin namespace={NAMESPACE} status=400"),
        ("DELETE", "/api/v1/namespaces/n/backup/b", "", "audit=delete user=- namespace=n target=b status=401"),
        ("GET", "/api/v1/other", "", "audit=unknown user=- status=404"),
    ],
)  # fmt: skip
async def test_what_was_refused_is_reported_too(
    method: str, path: str, token: str, reported: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with running(backup()) as rig:
        await rig.call(method, path, token)
        (line,) = [record.getMessage() for record in caplog.records if record.name == AUDIT]
        assert line.replace(f" method={method}", "").startswith(f"request {reported}")


async def test_the_api_server_away() -> None:
    async with running(backup()) as rig:
        rig.world.age_s = 1000
        answers = [await rig.call("GET", f"{BASE}/list")]
        rig.world.away = UnavailableError("connection refused")
        answers.append(await rig.call("GET", f"{BASE}/list"))
        assert [(one.status_code, "retry-after" in one.headers) for one in answers] == [(503, True)] * 2
        assert (await rig.http.get("/readyz")).status_code == 503
        assert (await rig.http.get("/healthz")).status_code == 200


async def test_delete_twice_and_words_are_no_ids() -> None:
    async with running(backup()) as rig:
        assert (await rig.call("DELETE", f"{BASE}/chain")).status_code == 405
        assert (await rig.call("DELETE", f"{BASE}/{FULL}")).status_code == 202
        again = await rig.call("GET", f"{BASE}/{FULL}")
        assert again.json()["current_phase"] == "deleting"
        rig.world.finalizers = False
        assert (await rig.call("DELETE", f"{BASE}/{FULL}")).status_code == 200
        assert (await rig.call("DELETE", f"{BASE}/{FULL}")).status_code == 404


async def test_the_deletion_of_an_immutable_one_says_until_when() -> None:
    async with running(backup(retainedUntil="2999-01-01T00:00:00Z")) as rig:
        answer = await rig.call("DELETE", f"{BASE}/{FULL}")
        reported = answer.json()
        assert (answer.status_code, reported["freed_bytes"], reported["files"]) == (202, 0, [])
        assert reported["message"] == "it is immutable until 2999-01-01T00:00:00Z: object and files stay until then"


async def test_who_may_delete_one_learns_no_other_names() -> None:
    younger = backup("younger", disks=[{"id": 0, "parent": FULL, "file": "b"}])
    async with running(backup(), younger) as rig:
        assert (await rig.call("GET", f"{BASE}/younger", "owner")).status_code == 403
        reported = (await rig.call("DELETE", f"{BASE}/{FULL}", "owner")).json()
        assert (reported["freed_bytes"], reported["needed_by"], "younger" in reported["message"]) == (0, [], False)
        reported = (await rig.call("DELETE", f"{BASE}/{FULL}")).json()
        assert (reported["freed_bytes"], reported["needed_by"], "younger" in reported["message"]) == (
            0,
            ["younger"],
            True,
        )


async def test_a_long_list_is_whole_and_metrics_tell_of_it() -> None:
    async with running(*(backup(f"b{number:03}") for number in range(450))) as rig:
        got = (await rig.call("GET", f"{BASE}/list")).json()
        assert [one["backup_id"] for one in got["backups"]] == [f"b{number:03}" for number in range(450)]
        assert (await rig.http.get("/metrics")).status_code == 404, "the numbers are not for REST's callers"
        transport = httpx.ASGITransport(create_metrics_app(rig.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as numbers:
            text = (await numbers.get("/metrics")).text
        assert 'sendense_rest_requests_total{code="200",operation="list"} 1.0' in text
        assert 'sendense_rest_objects{kind="Backup"} 450.0' in text
        described = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP sendense_")}
        exported = {name for name in described if not name.endswith("_created")}
        assert exported == {metric.name for metric in catalogue.REST.metrics}
        assert "<pre>" in (await rig.http.get("/docs")).text


async def test_a_namespace_that_is_not_followed() -> None:
    async with running(namespaces=("other",)) as rig:
        assert (await rig.call("GET", f"{BASE}/list")).status_code == 404


async def test_no_body_is_read_of_who_may_not_start() -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append("some")
        yield b"{}"

    async with running() as rig:
        for user, status in (("reader", 403), ("nobody", 403), ("stranger", 401)):
            assert (await rig.call("POST", f"{BASE}/start", user, content=body())).status_code == status
        assert read == []
        assert (await rig.call("POST", f"{BASE}/start", content=body())).status_code == 400
        assert read == ["some"]


async def test_one_user_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(backup()) as rig:
        go, full, may = asyncio.Event(), asyncio.Barrier(CALLS_PER_USER + 1), rig.world.may

        async def slowly(caller: Caller, *asked: Any) -> bool:
            if caller.user == "admin" and not go.is_set():
                await full.wait()
                await go.wait()
            return await may(caller, *asked)

        monkeypatch.setattr(rig.world, "may", slowly)
        held = [asyncio.create_task(rig.call("GET", f"{BASE}/list")) for _ in range(CALLS_PER_USER)]
        async with asyncio.timeout(10):
            await full.wait()
        refused = await rig.call("GET", f"{BASE}/list")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (await rig.call("GET", f"{BASE}/list", "reader")).status_code == 200
        go.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200] * CALLS_PER_USER
        assert (await rig.call("GET", f"{BASE}/list")).status_code == 200
        assert len(rig.app.state.users) == 0
