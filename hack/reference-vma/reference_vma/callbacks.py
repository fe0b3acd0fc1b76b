"""Calls to the control plane, with the connection habits of a Go HTTP client.

Connections are kept and reused for 90 s. One that the server has closed meanwhile is noticed and replaced; a call that
fails on the way is not repeated.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, quote_plus, urlsplit

Report = Callable[..., None]
_DIAL_SECONDS: Final = 30
_IDLE_SECONDS: Final = 90
_TELEMETRY_SECONDS: Final = 10
_SHOWN: Final = 2000


def _is_stale(sock: socket.socket) -> bool:
    """Return whether the other side has closed an idle connection (or written what nobody asked for)."""
    return bool(select.select([sock], [], [], 0)[0])


class ControlPlane:
    """The callbacks of one job. All calls are safe from several threads."""

    def __init__(self, base_url: str, job_id: str, report: Report, again_seconds: float | None = None) -> None:
        """`again_seconds`: pause before a request or a `complete` that got no 200 is made again; None: it is not."""
        self._base = urlsplit(base_url.rstrip("/"))
        self._job_id = job_id
        self._report = report
        self._again_seconds = again_seconds
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()

    def ask(self, vm_name: str, disk_index: int) -> str:
        """Return the change id that the control plane knows, "" for every kind of failure."""
        path = f"/api/v1/backups/changeid?vm_name={quote_plus(vm_name)}&disk_id={disk_index}"
        status, answer = self._until_answered("GET", path, None)
        if status != 200:
            return ""
        try:
            change_id = json.loads(answer)["change_id"]
        except (ValueError, KeyError, TypeError):
            return ""
        return change_id if isinstance(change_id, str) else ""

    def complete(self, change_id: str, disk_index: int) -> bool:
        """Report a disk as done; anything but exactly 200 is a failure. Waits for an answer without limit."""
        body = {"change_id": change_id, "disk_id": disk_index, "bytes_transferred": 0}
        status, _ = self._until_answered("POST", f"/api/v1/backups/{quote(self._job_id)}/complete", body)
        return status == 200

    def telemetry(self, body: dict[str, Any]) -> None:
        """Report progress; failures are ignored."""
        path = f"/api/v1/telemetry/backup/{quote(self._job_id)}"
        self._call("POST", path, body, seconds=_TELEMETRY_SECONDS)

    def _until_answered(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int | None, bytes]:
        """Call once or until it succeeds. 410 means that the job was cancelled, which no other call changes."""
        while True:
            status, answer = self._call(method, path, body, seconds=None)
            if status in (200, 410) or self._again_seconds is None:
                return status, answer
            time.sleep(self._again_seconds)

    def _connection(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle:
                since, kept = self._idle.pop()
                fresh = time.monotonic() - since < _IDLE_SECONDS
                if fresh and kept.sock is not None and not _is_stale(kept.sock):
                    return kept
                kept.close()
        kind = http.client.HTTPSConnection if self._base.scheme == "https" else http.client.HTTPConnection
        made = kind(self._base.hostname or "", self._base.port, timeout=_DIAL_SECONDS)
        made.connect()
        return made

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None, seconds: float | None
    ) -> tuple[int | None, bytes]:
        """Return status (None without an answer) and body of one call."""
        status, answer, error = None, b"", ""
        try:
            connection = self._connection()
            connection.sock.settimeout(seconds)
            data = json.dumps(body).encode() if body is not None else None
            headers = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, self._base.path + path, data, headers)
            response = connection.getresponse()
            status, answer = response.status, response.read()
            if response.will_close:
                connection.close()
            else:
                with self._lock:
                    self._idle.append((time.monotonic(), connection))
        except (OSError, http.client.HTTPException, ValueError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        shown = answer[:_SHOWN].decode(errors="replace")
        self._report("made", method=method, path=path, status=status, body=body, answer=shown, error=error)
        return status, answer
