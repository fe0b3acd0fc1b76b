"""The client processes of one appliance and the progress records that they share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from reference_vma.config import find_client_python
from reference_vma.log import CallLog
from reference_vma.spec import JobSpec

_PACKAGE_PARENT: Final = str(Path(__file__).resolve().parent.parent)
_END_SECONDS: Final = 10


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Client:
    """One client process, as far as its reports tell."""

    spec: JobSpec
    process: subprocess.Popen[str]
    state: str = "running"
    disk: int | None = None
    completed: list[int] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    reader: threading.Thread | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """For the control API."""
        code = self.process.poll()
        return {
            "job_id": self.spec.job_id,
            "pid": self.process.pid,
            "alive": code is None,
            "exit_code": code,
            "state": self.state,
            "vm_path": self.spec.vm_path,
            "disk": self.disk,
            "phase": self.last.get("phase", ""),
            "bytes": self.last.get("job_bytes", 0),
            "completed": self.completed,
            "progress": self.last,
        }

    def command(self, line: dict[str, Any]) -> bool:
        """Send a command; False when the client is gone."""
        stdin = self.process.stdin
        if self.process.poll() is not None or stdin is None:
            return False
        try:
            stdin.write(json.dumps(line) + "\n")
            stdin.flush()
        except OSError:
            return False
        return True


class JobTable:
    """Starts clients and reads what they report."""

    def __init__(self, log: CallLog, client_python: str) -> None:
        self._log = log
        self._python = client_python
        self._clients: list[Client] = []
        self._progress: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def start(self, spec: JobSpec) -> int:
        """Start a client, whatever else runs; its pid. Raises OSError, RuntimeError."""
        python = find_client_python(self._python)
        path = os.pathsep.join(filter(None, [_PACKAGE_PARENT, os.environ.get("PYTHONPATH", "")]))
        process = subprocess.Popen(
            [python, "-m", "reference_vma.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr.fileno(),
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        client = Client(spec, process)
        with self._lock:
            self._clients.append(client)
        self._log.add("event", event="job_started", job_id=spec.job_id, vm=spec.vm_path, pid=process.pid)
        client.reader = threading.Thread(target=self._follow, args=(client,), daemon=True)
        client.reader.start()
        if process.stdin is not None:
            process.stdin.write(spec.to_line())
            process.stdin.flush()
        return process.pid

    def progress(self, job_id: str) -> dict[str, Any] | None:
        """Return the record as the contract shows it; None before the first report."""
        with self._lock:
            record = self._progress.get(job_id)
            if record is None:
                return None
            # "last_update" is the time of this call, as on the appliance
            return {**record, "errors": [], "timing": {"start_time": record["started"], "last_update": _now()}}

    def list(self) -> list[dict[str, Any]]:
        """Return all clients since the service started or was reset."""
        with self._lock:
            return [client.shown for client in self._clients]

    def command(self, job_id: str, line: dict[str, Any]) -> int:
        """Send a command, or a signal, to the clients of a job; how many got it."""
        with self._lock:
            clients = [client for client in self._clients if client.spec.job_id == job_id]
        signals = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
        sent = 0
        for client in clients:
            if line["command"] in signals and client.process.poll() is None:
                client.process.send_signal(signals[line["command"]])
                sent += 1
            elif line["command"] not in signals:
                sent += client.command(line)
        return sent

    def end_all(self) -> None:
        """As the appliance's restart: every client ends, deadlocked ones too, and their records are gone."""
        with self._lock:
            clients, self._clients = self._clients, []
            self._progress.clear()
        for client in clients:
            if client.process.poll() is None:
                client.process.kill()
        for client in clients:
            client.process.wait(_END_SECONDS)
            if client.reader is not None:
                client.reader.join(_END_SECONDS)
        with self._lock:
            self._progress.clear()

    def _follow(self, client: Client) -> None:
        for line in client.process.stdout or ():
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            self._take(client, entry)
        code = client.process.wait()
        if client.state in ("running", "deadlocked"):
            client.state = "ended"
        self._log.add("event", event="client_exit", job_id=client.spec.job_id, vm=client.spec.vm_path, code=code)
        for pipe in (client.process.stdin, client.process.stdout):
            if pipe is not None:
                _close(pipe)

    def _take(self, client: Client, entry: dict[str, Any]) -> None:
        kind = entry.pop("kind")
        if kind == "progress":
            self._record(client, entry)
            return
        event = entry.get("event", "")
        client.state = {"deadlocked": "deadlocked", "client_failed": "failed", "job_done": "done"}.get(
            event, client.state
        )
        if event == "disk_started":
            client.disk = entry["disk"]
        if kind == "made" and entry["path"].endswith("/complete") and entry["status"] == 200:
            client.completed.append(entry["body"]["disk_id"])
        self._log.add(kind, job_id=client.spec.job_id, vm=client.spec.vm_path, **entry)

    def _record(self, client: Client, entry: dict[str, Any]) -> None:
        client.last = entry
        names = ("status", "phase", "percentage", "bytes_transferred", "total_bytes", "sync_type")
        with self._lock:
            job_id = client.spec.job_id
            started = self._progress.get(job_id, {}).get("started") or _now()
            shared = {name: entry[name] for name in names}
            self._progress[job_id] = {"job_id": job_id, "started": started, **shared}


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except OSError:
        return
