"""An API server in a thread: objects, field and label selectors, rights that are missing; it remembers requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.objects import Obj

PLURALS = {
    "Backup": "backups",
    "BackupChain": "backupchains",
    "BackupPolicy": "backuppolicies",
    "BackupRepository": "backuprepositories",
    "Event": "events",
    "Pod": "pods",
    "ProtectedVM": "protectedvms",
    "Restore": "restores",
    "VMwareAppliance": "vmwareappliances",
}
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


class FakeApi:
    """What the server knows, and what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Obj] = {}
        """By plural and name."""
        self.forbidden: set[tuple[str, str]] = set()
        """Verbs and plurals that are refused; `*` stands for any."""
        self.requests: list[tuple[str, str, Any]] = []
        """Method, path with query, and body."""
        self.logs: dict[str, str] = {}
        """By name of the pod."""
        self.unknown: set[str] = set()
        """Plurals that are not served."""
        self.after: list[Callable[[], None]] = []
        """One is called after each answer to a GET of one object: time goes on."""
        self.url = ""
        self.date = ""
        """What the server's clock says, as in a header; empty: the real time."""

    def put(self, obj: Obj, plural: str = "") -> Obj:
        """Add or replace an object."""
        self.objects[plural or PLURALS[obj["kind"]], obj["metadata"]["name"]] = obj
        return obj

    def written(self, method: str) -> list[Any]:
        """Return the bodies of the requests of that method."""
        return [body for verb, _, body in self.requests if verb == method]

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """Return status and body."""
        parts, query = urlsplit(target), parse_qs(urlsplit(target).query)
        self.requests.append((method, target, body))
        plural, name, subresource = _resource(parts.path)
        verb = VERBS.get(method) or ("get" if name else "list")
        if plural in self.unknown:
            return 404, {"reason": "NotFound", "message": "the server could not find the requested resource"}
        if {(verb, plural), (verb, "*"), ("*", plural)} & self.forbidden:
            return 403, {"reason": "Forbidden", "message": f"User cannot {verb} resource {plural}"}
        if plural == "selfsubjectaccessreviews":
            return 201, self._review(body)
        if subresource == "log":
            return (200, self.logs[name]) if name in self.logs else (404, {"reason": "NotFound"})
        if method == "POST":
            return self._create(plural, body)
        if not name:
            return 200, {"metadata": {}, "items": self._selected(plural, query)}
        return self._one(method, plural, name, body)

    def _create(self, plural: str, body: Obj) -> tuple[int, Obj]:
        meta = {"uid": f"uid-{body['metadata']['name']}", "creationTimestamp": "2026-11-28T06:00:00Z"}
        if (plural, body["metadata"]["name"]) in self.objects:
            return 409, {"reason": "AlreadyExists", "message": "already exists"}
        return 201, self.put({**body, "metadata": {**body["metadata"], **meta}}, plural)

    def _one(self, method: str, plural: str, name: str, body: Any) -> tuple[int, Obj]:
        found = self.objects.get((plural, name))
        if found is None:
            return 404, {"reason": "NotFound", "message": f'{plural} "{name}" not found'}
        if method == "DELETE":
            del self.objects[plural, name]
        elif method == "PATCH":
            _merge(found, body)
        answer = json.loads(json.dumps(found))
        if self.after and method == "GET":
            self.after.pop(0)()
        return 200, answer

    def _selected(self, plural: str, query: dict[str, list[str]]) -> list[Obj]:
        fields = _pairs(query.get("fieldSelector", [""])[0])
        labels = _pairs(query.get("labelSelector", [""])[0])
        return [
            obj
            for (kind, _), obj in self.objects.items()
            if kind == plural
            and all(str(_at(obj, path)) == value for path, value in fields)
            and all(obj["metadata"].get("labels", {}).get(key) == value for key, value in labels)
        ]

    def _review(self, body: Obj) -> Obj:
        asked = body["spec"]["resourceAttributes"]
        refused = {(asked["verb"], asked["resource"]), (asked["verb"], "*")} & self.forbidden
        return {**body, "status": {"allowed": not refused}}


def _merge(obj: Obj, patch: Obj) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(obj.setdefault(key, {}), value)
        else:
            obj[key] = value


def _pairs(selector: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (one.partition("=") for one in selector.split(",") if one)]


def _at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj.get(part, "") if isinstance(obj, dict) else ""
    return obj


def _resource(path: str) -> tuple[str, str, str]:
    """Plural, name and subresource."""
    parts = path.strip("/").split("/")[2 if path.startswith("/api/") else 3 :]
    if parts and parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    plural, name, subresource, *_ = [*parts, "", "", ""]
    return plural, name, subresource


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        status, answer = self.api.answer(self.command, self.path, body)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Date", self.api.date or self.date_time_string())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - names of the library

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def running() -> Iterator[FakeApi]:
    """Serve on a free port."""
    api = FakeApi()
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
