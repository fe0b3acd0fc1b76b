"""A list-and-watch API server of pods on loopback, for what the real one does rarely: 410, cuts, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.support.loopback import loopback

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import worker_name

BACKUP_UID = "5d3c9e1c-4b0b-4d6c-9a2b-0d4c4c1f8f10"


def pod(uid: str, namespace: str = "shop", **status: Any) -> dict[str, Any]:
    """Return a worker's pod, made by the Job of the Backup `b`."""
    job = worker_name("b", BACKUP_UID)
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{job}-{uid}",
            "uid": uid,
            "resourceVersion": "0",
            "labels": {
                names.LABEL_APPLIANCE: "vma",
                names.LABEL_VM_KEY: "k",
                names.LABEL_BACKUP: "b",
                names.LABEL_BACKUP_UID: BACKUP_UID,
            },
            "ownerReferences": [{"kind": "Job", "name": job, "uid": "j", "controller": True}],
        },
        "status": status or {"phase": "Running", "podIP": "127.0.0.1"},
    }


class FakeApi:
    """Lists `pods`, and sends what is put into a watch's queue: an event, or None to end the watch."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.page = 1000
        self.resource_version = 100
        self.failures: list[web.Response] = []
        self.lists: list[dict[str, str]] = []
        self.watches: list[dict[str, str]] = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.url = ""

    def send(self, kind: str, obj: dict[str, Any]) -> None:
        """Send an event with the next resource version."""
        self.resource_version += 1
        meta = {**obj["metadata"], "resourceVersion": str(self.resource_version)}
        self.events.put_nowait({"type": kind, "object": {**obj, "metadata": meta}})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """GET pods."""
        query = {**request.query, "path": request.path}
        (self.watches if "watch" in query else self.lists).append(query)
        if self.failures:
            return self.failures.pop(0)
        if "watch" not in query:
            start, end = (first := int(query.get("continue", 0))), first + self.page
            meta = {"resourceVersion": str(self.resource_version)}
            more = {"continue": str(end)} if end < len(self.pods) else {}
            return web.json_response({"metadata": meta | more, "items": self.pods[start:end]})
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
            if event["type"] == "ERROR":
                break  # as the real one does
        return response


@asynccontextmanager
async def running_api() -> AsyncIterator[FakeApi]:
    """Serve on a free port."""
    api = FakeApi()
    async with loopback(api.handle) as api.url:
        yield api
