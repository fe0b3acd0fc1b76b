"""A backup's HTTP application: its status, and the VMA's callbacks under the paths that the VMA uses.

It contains no rules, so that nothing here can fail while a job runs; the rules are in `vma.callback_rules`.
"""

from __future__ import annotations

import contextlib
import time

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sendense_operator.logs import get_logger
from sendense_operator.vma.callback_bodies import MAX_BODY
from sendense_operator.vma.callback_rules import CALL_ID_HEADER, Reply
from sendense_operator.worker.lifecycle.http_server import common_routes
from sendense_operator.worker.vma_job.attempt_state import JobState

log = get_logger(__name__)


def build_app(state: JobState) -> Starlette:
    """Return the ASGI application of one job."""

    async def change_id(request: Request) -> Response:
        query = request.query_params
        reply = state.callbacks.answer_change_id(
            query.get("vm_name", ""),
            query.get("disk_id", ""),
            time.monotonic(),
            request.headers.get(CALL_ID_HEADER, "")[:128],
        )
        log.info("the VMA requested a change ID", disk=query.get("disk_id", "")[:16], status=reply.status)
        return _answer(state, reply)

    async def complete(request: Request) -> Response:
        body = await _body(request)
        # The client's connections are still open, so their byte counts are exact now.
        state.sample()
        reply = state.callbacks.complete(
            request.path_params["job"], body, time.monotonic(), state.current_last_connected()
        )
        log.info("the VMA reported a complete disk", status=reply.status, next_disk=state.callbacks.current_disk)
        return _answer(state, reply)

    async def telemetry(request: Request) -> Response:
        body = await _body(request)
        return _answer(state, state.callbacks.telemetry(request.path_params["job"], body, time.monotonic()))

    return Starlette(
        routes=[
            *common_routes(state.progress, state.stopping),
            Route("/api/v1/backups/changeid", change_id),
            Route("/api/v1/backups/{job}/complete", complete, methods=["POST"]),
            Route("/api/v1/telemetry/backup/{job}", telemetry, methods=["POST"]),
        ]
    )


def _answer(state: JobState, reply: Reply) -> Response:
    state.changed.set()
    return JSONResponse(dict(reply.body), status_code=reply.status)


async def _body(request: Request) -> bytes:
    """Return the body, cut one byte above the limit: the rules refuse it then, and nothing more is read."""
    body = bytearray()
    with contextlib.suppress(ClientDisconnect):
        async for part in request.stream():
            body += part[: MAX_BODY + 1 - len(body)]
            if len(body) > MAX_BODY:
                break
    return bytes(body)
