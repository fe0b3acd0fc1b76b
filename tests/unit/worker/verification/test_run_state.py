"""What the status port says of a verification."""

from __future__ import annotations

import httpx
from starlette.applications import Starlette
from tests.support.chains import uid_of
from tests.unit.worker.support import settings

from sendense_operator.task import CANCEL_PATH, PointReference, Progress, Stage, VerificationLevel, VerificationTask
from sendense_operator.worker.lifecycle.http_server import common_routes
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.verification.run_state import VerificationState


def state() -> VerificationState:
    points = tuple(PointReference(backup=f"b{number}", backup_uid=uid_of(number)) for number in (3, 2, 1))
    task = VerificationTask(
        namespace="shop", vm="db", chain="db", repository_id="r", level=VerificationLevel.CONTENT, points=points
    )
    return VerificationState(task, settings(), Stopping())


async def test_progress_and_cancellation() -> None:
    running = state()
    running.begin(1)
    app = Starlette(routes=common_routes(running.progress, running.stopping))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://worker") as client:
        found = Progress.model_validate_json((await client.get("/v1/status")).content)
        assert (found.stage, found.disks, found.message) == (Stage.VERIFYING, (), "restore point 2 of 3 (b2)")
        running.expect(400)
        running.after(180)
        found = Progress.model_validate_json((await client.get("/v1/status")).content)
        assert found.message == "restore point 2 of 3 (b2), 45% read"
        assert (await client.post(CANCEL_PATH)).status_code == 202
    assert running.stopping.requested
    assert running.read_bytes == 180
