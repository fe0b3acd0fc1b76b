"""For the tests of the reference VMA: the service on loopback, a control plane that records, qemu-nbd exports."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from tests.support.local_programs import free_port
from tests.support.waiting import poll

from reference_vma.app import Service
from reference_vma.config import Settings, find_client_python

JOB = "backup-1111"


def has_client() -> bool:
    """Return whether its client can be started here: an interpreter with `nbd`."""
    try:
        find_client_python("")
    except RuntimeError:
        return False
    return True


needs_client = pytest.mark.skipif(not has_client(), reason="needs python3-libnbd; runs in the image (hack/test)")
needs_tools = pytest.mark.skipif(
    not (has_client() and all(shutil.which(tool) for tool in ("qemu-nbd", "qemu-img"))),
    reason="needs qemu-utils and python3-libnbd; runs in the image (hack/test)",
)
"""What real copies need."""


class ControlPlane:
    """Answers asks for 0 with the parent id of the disk whose turn it is, others as asked; `complete` with a status."""

    def __init__(self) -> None:
        self._parents: list[str] = []
        self._parents_since = 0
        self.asks: list[dict[str, str]] = []
        self.completes: list[dict[str, Any]] = []
        self.telemetry: list[dict[str, Any]] = []
        self.ask_status = 200
        self.ask_answer: bytes | None = None
        self.complete_status = 200
        self.paths: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def expect_increment(self, parents: list[str]) -> None:
        """Answer the next job's requests with these change ids; "" for a disk that must become full."""
        self._parents, self._parents_since = parents, len(self.completes)

    @property
    def url(self) -> str:
        """Base URL, with a path, as the gateway's."""
        return f"http://127.0.0.1:{self._server.server_port}/appliances/ns/vma"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _ask(self, query: str) -> bytes:
        values = {name: value[0] for name, value in parse_qs(query, keep_blank_values=True).items()}
        self.asks.append(values)
        if self.ask_answer is not None:
            return self.ask_answer
        index = int(values["disk_id"]) or len(self.completes) - self._parents_since
        change_id = self._parents[index] if index < len(self._parents) else ""
        return json.dumps({**values, "change_id": change_id, "backup_job_id": "", "message": ""}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                plane.paths.append(parts.path)
                self._answer(plane.ask_status, plane._ask(parts.query))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                plane.paths.append(self.path)
                if self.path.endswith("/complete"):
                    plane.completes.append(body)
                    self._answer(plane.complete_status, b"{}")
                else:
                    plane.telemetry.append(body)
                    self._answer(200, b"{}")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class Export:
    """A qcow2 image served as a worker serves it: WRITE_ZEROES refused, several connections."""

    def __init__(
        self, image: Path, size: int, name: str, *, backing: Path | None = None, zeroes: bool = False, shared: int = 8
    ) -> None:
        self.image, self.name = image, name
        base = ["-b", str(backing), "-F", "qcow2"] if backing else []
        create = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=128k,extended_l2=on", *base, str(image), str(size)]
        subprocess.run(["qemu-img", *create], check=True)
        self.port = free_port()
        pid_file = image.with_suffix(".pid")
        pid_file.unlink(missing_ok=True)
        listen = ["-b", "127.0.0.1", "-p", str(self.port), f"--shared={shared}", f"--pid-file={pid_file}"]
        inject = ",inject-error.0.event=none,inject-error.0.iotype=write-zeroes,inject-error.0.errno=5"
        options = (
            "driver=blkdebug,max-transfer=1048576,image.driver=qcow2,image.discard=unmap,image.detect-zeroes=unmap,"
            f"image.file.driver=file,image.file.filename={image}" + ("" if zeroes else inject)
        )
        self.process = subprocess.Popen(["qemu-nbd", "-t", "-x", name, *listen, "--image-opts", options])
        poll(pid_file.exists)

    @property
    def url(self) -> str:
        return f"nbds://127.0.0.1:{self.port}/{self.name}"

    def stop(self) -> None:
        """As a worker does at the end."""
        self.process.terminate()
        self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def same_as(self, raw: Path) -> bool:
        compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(self.image), str(raw)]
        return subprocess.run(compare, check=False).returncode == 0


class VMA:
    """The service under test and what a caller needs to use it."""

    def __init__(self, service: str, name: str, disks: Path, control_plane: ControlPlane) -> None:
        self.http = httpx.Client(base_url=f"{service}/appliance/{name}", timeout=30)
        self.service = httpx.Client(base_url=service, timeout=30)
        self.disks = disks
        self.plane = control_plane

    def make_vm(self, name: str = "pgtest1", *disks: dict[str, Any], **others: Any) -> dict[str, Any]:
        answer = self.http.post("/_control/vms", json={"name": name, "disks": list(disks), **others})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def file(self, vm: dict[str, Any], index: int = 0) -> Path:
        return self.disks / str(vm["disks"][index]["file"])

    def fault(self, on: str, mode: str, **params: Any) -> None:
        assert self.http.post("/_control/faults", json={"on": on, "mode": mode, **params}).status_code == 201

    def body(self, vm_path: str, targets: str, **changes: str) -> dict[str, str]:
        body = {
            "job_id": JOB,
            "vm_name": "ignored",
            "vm_path": vm_path,
            "vcenter_host": "vcenter.example",
            "vcenter_user": "backup",
            "vcenter_password": "secret",
            "nbd_targets": targets,
            "backup_type": "full",
        }
        return body | changes

    def start(self, vm: dict[str, Any], exports: list[Export], **changes: str) -> httpx.Response:
        keys = [disk["key"] for disk in vm["disks"]]
        targets = ",".join(f"{key}:{export.url}" for key, export in zip(keys, exports, strict=False))
        return self.http.post("/api/v1/backup/start", json=self.body(vm["path"], targets, **changes))

    def job(self, job_id: str = JOB) -> dict[str, Any]:
        jobs = [job for job in self.http.get("/_control/jobs").json() if job["job_id"] == job_id]
        found: dict[str, Any] = jobs[-1]
        return found

    def ended(self, job_id: str = JOB, seconds: float = 30) -> dict[str, Any]:
        """Return the job's client after its end or its deadlock."""

        def check() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] == "deadlocked" or (not job["alive"] and job["state"] != "running") else None

        found: dict[str, Any] = poll(check, limit_s=seconds)
        return found

    def log(self, **wanted: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.http.get("/_control/log", params=wanted).json()["entries"]
        return entries

    def event(self, name: str) -> dict[str, Any]:
        """Return the newest such event, waited for."""
        found: dict[str, Any] = poll(lambda: self.log(event=name))[-1]
        return found


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The service on a port of its own."""
    service = Service(settings)
    # Without log_config uvicorn takes its loggers away from the root logger, for all tests that follow.
    config = uvicorn.Config(
        service, port=0, access_log=False, log_config=None, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    poll(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        service.close()
