"""An HTTP server on loopback that answers what a test wants, and remembers requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.support.loopback import loopback


class Recorder:
    """Remembers requests; answers the next of `answers`, or echoes an empty object."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[web.Response] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "type": request.content_type,
                "host": request.headers.get("Host"),
                "authorization": request.headers.get("Authorization"),
                "body": json.loads(text) if text else None,
            }
        )
        return self.answers.pop(0) if self.answers else web.json_response({})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, Recorder]]:
    """Base URL and server."""
    server = Recorder()
    async with loopback(server.handle) as url:
        yield url, server
