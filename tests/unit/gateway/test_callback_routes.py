import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from fastapi import Request, Response
from tests.support.waiting import comes_true
from tests.unit.gateway.rig import BASE, COMPLETE, JOB, PATH, UID, WORKER, base_of, running_rig

from sendense_operator.gateway.appliances import ApplianceRecord
from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.serving import listen, serve

OTHER = "backup-11111111-6c2b-4b1c-9a53-0f7d2a1c9e11"


async def test_complete_goes_to_the_worker_unchanged() -> None:
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        answer = await rig.complete(new_field=[1])
        assert (answer.status_code, answer.content) == (200, b'{"any": "thing"}')
        ((method, target, body, call_id),) = rig.stub.seen
        assert (method, target) == ("POST", f"/api/v1/backups/{JOB}/complete")
        assert json.loads(body) == {**COMPLETE, "new_field": [1]}
        assert len(call_id) == 32


async def test_changeid_goes_by_the_vm() -> None:
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        assert (await rig.changeid()).status_code == 200
        assert rig.stub.seen[0][:2] == ("GET", "/api/v1/backups/changeid?vm_name=pg+test&disk_id=0")


@pytest.mark.parametrize("status", [200, 400, 404, 409, 410, 500])
async def test_the_workers_verdict_is_passed_back(status: int) -> None:
    async with running_rig() as rig:

        async def answer(_: Request, __: bytes) -> Response:
            return Response(f"verdict {status}", status, media_type="text/plain")

        rig.stub.answer = answer
        rig.directory.put(replace(WORKER, terminating=True))
        got = await rig.complete()
        assert (got.status_code, got.text) == (status, f"verdict {status}")
        assert got.headers["content-type"].startswith("text/plain")
        assert len(rig.stub.seen) == 1


async def test_a_call_waits_for_its_worker() -> None:
    async with running_rig() as rig:
        calls = [asyncio.create_task(rig.complete()), asyncio.create_task(rig.changeid())]
        await comes_true(lambda: rig.limits.held == 2)
        rig.directory.put(replace(WORKER, ip="", running=False))
        await comes_true(lambda: rig.limits.held == 2)
        assert rig.stub.seen == []
        rig.directory.put(WORKER)
        assert [(await call).status_code for call in calls] == [200, 200]
        assert rig.limits.held == rig.limits.calls == 0


async def test_a_call_waits_for_the_workers_listener() -> None:
    async with running_rig(stub_up=False) as rig:
        rig.directory.put(WORKER)
        call = asyncio.create_task(rig.complete())
        await comes_true(lambda: rig.limits.held == 1)
        stop = asyncio.Event()
        late = asyncio.create_task(serve(rig.stub.app(), Drain(), 0, listen(rig.worker_port), stop))
        assert (await call).status_code == 200
        stop.set()
        await late


@pytest.mark.parametrize(("synced", "known", "status"), [(True, False, 404), (False, False, 503), (True, True, 503)])
async def test_the_wait_is_bounded(synced: bool, known: bool, status: int) -> None:
    async with running_rig(hold_s=0.2, stub_up=False) as rig:
        rig.directory.synced = synced
        if known:
            rig.directory.put(WORKER)
        assert (await rig.complete()).status_code == status
        assert rig.limits.held == 0


async def test_an_ended_job_is_answered_at_once() -> None:
    async with running_rig() as rig:
        rig.directory.put(replace(WORKER, ended=True, running=False))
        assert (await rig.complete()).status_code == 404
        assert rig.stub.seen == []


async def test_another_appliances_job_is_unknown() -> None:
    async with running_rig(hold_s=0.1) as rig:
        rig.directory.put(WORKER)
        got = await rig.http.post(f"{base_of('shop', 'other')}/backups/{JOB}/complete", json=COMPLETE)
        assert got.status_code == 404
        got = await rig.http.post(f"{base_of('lab', 'vma')}/backups/{JOB}/complete", json=COMPLETE)
        assert got.status_code == 404
        assert rig.stub.seen == []


async def test_slow_answers_are_waited_for_and_telemetry_goes_past() -> None:
    async with running_rig(hold_s=0.05) as rig:
        go = asyncio.Event()

        async def answer(request: Request, _: bytes) -> Response:
            if request.url.path.endswith("/complete"):
                await go.wait()
            return Response(b"{}")

        rig.stub.answer = answer
        rig.directory.put(WORKER)
        call = asyncio.create_task(rig.complete())
        await comes_true(lambda: rig.stub.seen)
        for _ in range(3):
            assert (await rig.http.post(f"{BASE}/telemetry/backup/{JOB}", json={})).status_code == 200
        await asyncio.sleep(0.1)  # longer than calls are held: being answered slowly is no holding
        assert not call.done()
        go.set()
        assert (await call).status_code == 200


async def test_a_broken_connection_is_sent_again_under_the_same_call_id() -> None:
    """The first try is answered by a closed connection, after the call was read."""

    async def break_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        ids.append(next(line for line in head.decode().splitlines() if line.lower().startswith("x-sendense-call")))
        if len(ids) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()

    ids: list[str] = []
    async with running_rig(stub_up=False) as rig:
        server = await asyncio.start_server(break_first, sock=listen(rig.worker_port))
        async with server:
            rig.directory.put(WORKER)
            assert (await rig.complete()).status_code == 200
            assert (await rig.changeid()).status_code == 200
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


async def test_a_worker_that_always_breaks_is_given_up() -> None:
    async def break_always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with running_rig(stub_up=False) as rig:
        server = await asyncio.start_server(break_always, sock=listen(rig.worker_port))
        async with server:
            rig.directory.put(WORKER)
            assert (await rig.complete()).status_code == 502


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", f"{BASE}/backups/backup-x/complete", b"{}", 404),
        ("POST", f"{BASE}/backups/{JOB}/complete", b"{}", 400),
        ("POST", f"{BASE}/backups/{JOB}/complete", b"[" * 50000, 400),
        ("POST", f"{BASE}/backups/{JOB}/complete", b" " * 70000, 413),
        ("POST", f"{BASE}/backups/backup-x/complete", b" " * 70000, 404),
        ("POST", f"{BASE}/telemetry/backup/{JOB}", b"x", 400),
        ("POST", f"{BASE}/telemetry/backup/{OTHER}", b"{}", 404),
        ("GET", f"{BASE}/backups/changeid", b"", 400),
        ("GET", f"{BASE}/backups/changeid?vm_name=x&disk_id=z", b"", 400),
        ("GET", "/api/v1/backups/changeid?vm_name=x&disk_id=0", b"", 404),
        ("GET", "/appliances/SHOP/vma/api/v1/backups/changeid?vm_name=x&disk_id=0", b"", 404),
        ("POST", "/appliances/shop/%2e%2e/api/v1/backups/changeid", b"", 405),
        ("GET", f"{BASE}/backups/{JOB}/complete", b"", 405),
        ("GET", "/v1/status", b"", 404),
        ("GET", "/docs", b"", 404),
        ("GET", "/openapi.json", b"", 404),
    ],
)
async def test_what_is_refused_moves_nothing(method: str, path: str, content: bytes, status: int) -> None:
    async with running_rig(hold_s=60) as rig:
        rig.directory.put(WORKER)
        got = await rig.http.request(method, path, content=content)
        assert got.status_code == status
        assert rig.stub.seen == []


async def test_a_body_without_a_length_is_bounded_too() -> None:
    async with running_rig() as rig:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b" " * 1024

        rig.directory.put(WORKER)
        got = await rig.http.post(f"{BASE}/backups/{JOB}/complete", content=chunks())
        assert got.status_code == 413


async def test_a_flood_of_unknown_jobs_leaves_known_ones_alone() -> None:
    async with running_rig(limits=CallLimits(100, 5, 3)) as rig:
        rig.directory.put(WORKER)
        flood = [asyncio.create_task(rig.complete(OTHER)) for _ in range(3)]
        await comes_true(lambda: rig.limits.held == 3)
        refused = await rig.complete(OTHER)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert (await rig.complete()).status_code == 200
        for call in flood:
            call.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        # who hangs up is not held any longer
        await comes_true(lambda: rig.limits.held == 0 and rig.limits.calls == 0)


async def test_a_flood_of_unknown_appliances_takes_no_place() -> None:
    """Neither of the calls in flight nor of the held ones: they are answered at once, their bodies unread."""
    async with running_rig(limits=CallLimits(1, 1, 1)) as rig:
        rig.directory.put(WORKER)
        held = asyncio.create_task(rig.complete(OTHER))
        await comes_true(lambda: rig.limits.calls == 1)
        wrong = base_of("shop", "vma").replace("/0-", "/1-")
        for base in ("/appliances/shop/vma/api/v1", "/appliances/no/body/api/v1", wrong, f"{PATH[:-1]}/api/v1"):
            got = await rig.http.post(f"{base}/backups/{OTHER}/complete", content=b" " * 70000)
            assert got.status_code == 404, base
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        await comes_true(lambda: rig.limits.calls == 0)
        assert (await rig.complete()).status_code == 200


async def test_callers_from_elsewhere() -> None:
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        networks = ApplianceRecord.from_object(
            {
                "metadata": {"uid": "1", "namespace": "shop", "name": "vma"},
                "spec": {"callbacks": {"allowedFrom": ["192.0.2.0/24"]}},
            }
        )
        rig.appliances.put(networks)
        forged = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        got = await rig.http.post(f"{BASE}/backups/{JOB}/complete", json=COMPLETE, headers=forged)
        assert got.status_code == 403
        assert rig.stub.seen == []


async def test_the_path_of_before_while_the_appliance_is_changed_over() -> None:
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        rig.appliances.put(ApplianceRecord("1", "shop", "vma", accept_former_paths=True))
        got = await rig.http.post(f"/appliances/shop/vma/api/v1/backups/{JOB}/complete", json=COMPLETE)
        assert got.status_code == 200


async def test_probes() -> None:
    async with running_rig() as rig:
        rig.directory.synced = False
        assert (await rig.http.get("/healthz")).status_code == 200
        assert (await rig.http.get("/readyz")).status_code == 503
        rig.directory.synced = True
        rig.appliances.synced = False
        assert (await rig.http.get("/readyz")).status_code == 503
        rig.appliances.synced = True
        assert (await rig.http.get("/readyz")).status_code == 200
        rig.drain.begin()
        assert (await rig.http.get("/readyz")).status_code == 503


async def test_drain_finishes_what_is_in_flight() -> None:
    async with running_rig(drain_s=0.3) as rig:
        go = asyncio.Event()

        async def answer(_: Request, __: bytes) -> Response:
            await go.wait()
            return Response(b"{}")

        rig.stub.answer = answer
        held = asyncio.create_task(rig.complete(f"backup-{UID[:-1]}2"))
        rig.directory.put(WORKER)
        slow = asyncio.create_task(rig.complete())
        await comes_true(lambda: len(rig.stub.seen) == 1 and rig.limits.held == 1)
        rig.stop.set()
        await comes_true(lambda: rig.drain.draining)
        assert (await rig.http.get("/readyz")).status_code == 503
        late = asyncio.create_task(rig.complete())  # endpoints were not updated everywhere yet
        await comes_true(lambda: len(rig.stub.seen) == 2)
        await comes_true(lambda: not accepts(rig.port))
        assert not rig.gateway.done()
        rig.directory.put(replace(WORKER, uid=f"{UID[:-1]}2"))
        await comes_true(lambda: len(rig.stub.seen) == 3)
        go.set()
        for call in (held, slow, late):
            got = await call
            assert got.status_code == 200
            assert got.headers["connection"] == "close"
        await asyncio.wait_for(rig.gateway, 10)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


async def test_log_lines_name_the_backup_and_hold_no_bodies(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_rig() as rig:
        rig.directory.put(WORKER)
        await rig.complete(change_id="canary/1")
        await rig.changeid()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("sendense")]
    assert any(f"call=complete appliance=shop/vma job={JOB} pod=db-1-x status=200" in line for line in lines)
    assert not any("canary" in line or "pg test" in line for line in lines)


async def test_an_ipv6_worker() -> None:
    async with running_rig() as rig:
        rig.directory.put(replace(WORKER, ip="::1"))
        try:
            listening = await asyncio.open_connection("::1", rig.worker_port)
        except OSError:
            pytest.skip("no IPv6 here")
        listening[1].close()
        assert (await rig.complete()).status_code == 200


async def test_a_huge_answer_of_a_worker_is_not_passed_on() -> None:
    async with running_rig() as rig:

        async def answer(_: Request, __: bytes) -> Response:
            return Response(b"x" * 70000)

        rig.stub.answer = answer
        rig.directory.put(WORKER)
        got: httpx.Response = await rig.complete()
        assert got.status_code == 502
