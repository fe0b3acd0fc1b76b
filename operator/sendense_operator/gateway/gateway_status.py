"""The gateway's status endpoint: what the controller polls, on a port of its own."""

from __future__ import annotations

import hmac

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sendense_operator.gateway.unrouted_recorder import UnroutedRecorder
from sendense_operator.vma.callback_keys import CallbackKeys
from sendense_operator.vma.sightings import PATH, reader_token


def create_status_app(sighted: UnroutedRecorder, keys: CallbackKeys) -> Starlette:
    """Build it. Only who has the callbacks' key is answered: job IDs are in it."""

    async def sightings(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        expected = [f"Bearer {reader_token(key)}" for key in (keys.current(), keys.previous()) if key]
        if not any(hmac.compare_digest(given.encode(), one.encode()) for one in expected):
            return PlainTextResponse("unauthorized", 401)
        return Response(sighted.report().model_dump_json(), media_type="application/json")

    return Starlette(routes=[Route(PATH, sightings)])
