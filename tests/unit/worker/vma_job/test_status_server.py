import json
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.unit.worker.support import UID, settings, task

from sendense_operator.task import Progress, Stage
from sendense_operator.vma.callback_bodies import MAX_BODY
from sendense_operator.worker.images.nbd_connections import Connection
from sendense_operator.worker.lifecycle.http_server import serving
from sendense_operator.worker.vma_job.attempt_state import JobState
from sendense_operator.worker.vma_job.status_server import build_app

JOB = f"backup-{UID}"
GOOD = {"change_id": "52 de/1", "disk_id": 0, "bytes_transferred": 0}


@pytest.fixture
def state() -> JobState:
    return JobState(task(), settings())


@pytest.fixture
async def client(state: JobState) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        yield client


async def test_a_full_backups_callbacks(
    client: httpx.AsyncClient, state: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[Connection] = []
    monkeypatch.setattr(state._connections, "sample", lambda: connected)
    for disk in (0, 1):
        refused = await client.post(f"/api/v1/backups/{JOB}/complete", json=GOOD | {"disk_id": disk})
        assert (refused.status_code, state.callbacks.current_disk) == (409, disk), "nobody has copied this disk"
        connected.append(Connection(state.port(disk), disk, True, 100))
        answer = await client.get("/api/v1/backups/changeid", params={"vm_name": "pgtest1", "disk_id": "0"})
        assert (answer.status_code, answer.json()["change_id"]) == (200, "")
        assert state.callbacks.current_disk == disk
        answer = await client.post(f"/api/v1/backups/{JOB}/complete", json=GOOD | {"disk_id": disk})
        assert answer.status_code == 200
    assert state.callbacks.done
    assert state.changed.is_set()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/api/v1/backups/{JOB}/complete", b"", 400),
        (f"/api/v1/backups/{JOB}/complete", b"{" * 1000, 400),
        (f"/api/v1/backups/{JOB}/complete", b"[" * 10_000, 400),
        (f"/api/v1/backups/{JOB}/complete", b"x" * (MAX_BODY + 1), 413),
        (f"/api/v1/backups/{JOB}/complete", b"x" * (8 << 20), 413),
        (f"/api/v1/backups/{JOB}/complete", json.dumps(GOOD | {"disk_id": 1}).encode(), 409),
        (f"/api/v1/backups/{JOB}/complete", json.dumps(GOOD | {"disk_id": 7}).encode(), 409),
        (f"/api/v1/backups/{JOB}x/complete", json.dumps(GOOD).encode(), 404),
        ("/api/v1/backups/../complete", json.dumps(GOOD).encode(), 404),
        (f"/api/v1/telemetry/backup/{JOB}", b"nonsense", 400),
        ("/api/v1/telemetry/backup/other", b"{}", 404),
        ("/v1/status", b"", 405),
        ("/nothing", b"", 404),
    ],
)
async def test_bad_calls_move_nothing(
    client: httpx.AsyncClient, state: JobState, path: str, body: bytes, status: int
) -> None:
    assert (await client.post(path, content=body)).status_code == status
    assert not state.callbacks.change_ids


async def test_cancelled_means_gone(client: httpx.AsyncClient, state: JobState) -> None:
    state.callbacks.cancel()
    assert (await client.post(f"/api/v1/backups/{JOB}/complete", json=GOOD)).status_code == 410


async def test_progress_never_goes_back(
    client: httpx.AsyncClient, state: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = iter([(1000, 86), (5 << 20, 300), (10, 86)])
    monkeypatch.setattr(
        state._connections,
        "sample",
        lambda: [Connection(10809 + disk, 1, True, received) for disk, received in enumerate(next(samples))],
    )
    state.stage = Stage.COPYING
    seen = []
    for _ in range(3):
        state.sample()
        progress = Progress.model_validate_json((await client.get("/v1/status")).content)
        seen.append([disk.received_bytes for disk in progress.disks])
        assert progress.connections == 2
        assert progress.job_id == JOB
    assert seen == [[1000, 86], [1 << 20, 300], [1 << 20, 300]]


async def test_it_serves_on_a_port_and_stops(state: JobState) -> None:
    async with serving(build_app(state), settings(status_port=0)):
        pass  # stopped before it began: no error, no hang
