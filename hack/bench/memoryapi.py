"""An API server in memory: the fake cluster of the wiring tests over HTTP, for the real programs."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from tests.support.loopback import loopback
from tests.support.objects import Obj
from tests.wiring.clock import Clock
from tests.wiring.fakecluster import FakeCluster
from tests.wiring.plain import selected

from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from sendense_operator.cluster.kinds import Kind

_SERVED: Final = tuple(value for value in vars(kinds).values() if isinstance(value, Kind))
_CODES: Final[tuple[tuple[type[ClusterError], int, str], ...]] = (
    (NotFoundError, 404, "NotFound"),
    (AlreadyExistsError, 409, "AlreadyExists"),
    (ConflictError, 409, "Conflict"),
    (InvalidError, 422, "Invalid"),
    (ForbiddenError, 403, "Forbidden"),
)


class _Now(Clock):
    """The time of day."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class MemoryApi(FakeCluster):
    """`FakeCluster` over HTTP: lists in pages, watches, discovery, pods' logs. Events are taken and forgotten."""

    def __init__(self) -> None:
        super().__init__(_Now())
        self._watchers: defaultdict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self.on_change = self.changed

    def changed(self, event: str, kind: Kind, obj: Obj) -> None:
        """Send an event to whoever watches the kind."""
        if watchers := self._watchers[kind.plural]:
            line = json.dumps({"type": event, "object": obj}).encode() + b"\n"
            for watcher in watchers:
                watcher.put_nowait(line)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its base URL."""
        async with loopback(self._handle) as url:
            yield url

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        discovered = _discovery(request.path)
        if discovered is not None:
            return web.json_response(discovered)
        try:
            kind, namespace, name, sub = _parsed(request.path)
            if request.method == "GET" and not name:
                if "watch" in request.query:
                    return await self._watch(request, kind)
                return self._list(request, kind, namespace)
            if sub == "log":
                return web.Response(text="\n".join(self.logs.get(name, [])))
            return web.json_response(await self._one(request, kind, namespace, name, sub))
        except ClusterError as error:
            return _refusal(error)

    async def _one(self, request: web.Request, kind: Kind, namespace: str | None, name: str, sub: str) -> Obj:
        body: Any = await request.json() if request.can_read_body else {}
        if kind is kinds.EVENT:
            return dict(body)
        match request.method:
            case "GET":
                return await self.get(kind, namespace, name)
            case "POST":
                return await self.create(kind, body, dry_run="dryRun" in request.query)
            case "DELETE":
                await self.delete(kind, namespace, name, uid=(body.get("preconditions") or {}).get("uid"))
                return {}
            case "PATCH" if "apply" in request.content_type:
                return await self.apply(kind, body, subresource=sub)
            case "PATCH" if "json-patch" in request.content_type:
                return await self.json_patch(kind, namespace, name, body)
            case _:
                return await self.merge_patch(kind, namespace, name, body)

    def _list(self, request: web.Request, kind: Kind, namespace: str | None) -> web.Response:
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        labels = "" if " in (" in labels else labels  # all Jobs and pods here are the operator's
        found = [
            obj
            for place, obj in self.objects.items()
            if place[0] == kind.kind and namespace in (None, place[1])
            if selected(labels, obj["metadata"].get("labels") or {}) and selected(fields, obj)
        ]
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", len(found) or 1))
        more = {"continue": str(start + limit)} if start + limit < len(found) else {}
        meta = {"resourceVersion": str(self._version), **more}
        return web.json_response({"kind": f"{kind.kind}List", "metadata": meta, "items": found[start : start + limit]})

    async def _watch(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        response = web.StreamResponse()
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers[kind.plural].add(queue)
        try:
            await response.prepare(request)
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 3600))):
                while True:
                    await response.write(await queue.get())
        except (TimeoutError, ConnectionError):
            return response
        finally:
            self._watchers[kind.plural].discard(queue)


def _refusal(error: ClusterError) -> web.Response:
    code, reason = next((code, reason) for of, code, reason in _CODES if isinstance(error, of))
    causes = [{"reason": "NamespaceTerminating"}] if getattr(error, "terminating", False) else []
    status = {"kind": "Status", "code": code, "reason": reason, "message": str(error), "details": {"causes": causes}}
    return web.json_response(status, status=code)


def _parsed(path: str) -> tuple[Kind, str | None, str, str]:
    """Kind, namespace, name and subresource of a URL path. Raises NotFoundError."""
    parts = path.strip("/").split("/")
    version, rest = ("".join(parts[1:2]), parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    if not rest:
        raise NotFoundError(path)
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    name, sub = [*rest[1:], "", ""][:2]
    for kind in _SERVED:
        if (kind.api_version, kind.plural) == (version, rest[0]):
            return kind, namespace, name, sub
    raise NotFoundError(path)


def _discovery(path: str) -> Obj | None:
    """Return what the API server tells of its groups and resources; None for another path."""
    parts = [part for part in path.split("/") if part]
    if parts == ["api"]:
        return {"versions": ["v1"]}
    if parts == ["apis"]:
        return {"groups": [_group(group) for group in sorted({kind.api_version for kind in _SERVED}) if "/" in group]}
    if (len(parts), parts[:1]) not in ((2, ["api"]), (3, ["apis"])):
        return None
    version = "/".join(parts[1:])
    verbs = ["list", "watch", "get", "patch", "create", "delete"]
    served = [kind for kind in _SERVED if kind.api_version == version]
    resources = [
        {"name": k.plural, "kind": k.kind, "singularName": k.kind.lower(), "namespaced": k.namespaced, "verbs": verbs}
        for k in served
    ]
    return {"groupVersion": version, "resources": resources}


def _group(whole: str) -> Obj:
    name, version = whole.split("/")
    preferred = {"groupVersion": whole, "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}
