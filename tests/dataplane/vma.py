"""The reference VMA as a process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.dataplane.host import free_ports, python_path, until

PASSWORD = "canary-4711"
IMPATIENT_VMA = {"retry_seconds": 0.5, "telemetry_seconds": 0.5}
"""Settings of a VMA whose client learns in 2 s that its export is gone, where the appliance's own needs 11 s."""
RELEASE_SECONDS = 4.0
"""Value of the clock `cancel` for such a VMA: twice the time, as 17 s are not quite for the appliance."""


class Vma:
    """The reference VMA and its control API."""

    def __init__(self, url: str, disks: Path) -> None:
        self.url, self.disks = url, disks
        self._http = httpx.Client(base_url=url, timeout=60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, f"/_control/{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def reset(self) -> None:
        """Remove faults, jobs and VMs, and set everything as it was at the start."""
        self.call("POST", "reset", {"vms": True})

    def make_vm(self, *disks: dict[str, Any], name: str = "pg", **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.call("POST", "vms", {"name": name, "disks": list(disks), **fields})
        return made

    def fault(self, on: str, mode: str, **fields: Any) -> None:
        self.call("POST", "faults", {"on": on, "mode": mode, **fields})

    def log(self, **query: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._http.get("/_control/log", params=query).json()["entries"]
        return entries

    def starts(self) -> int:
        """Start calls that it saw."""
        return len([entry for entry in self.log(kind="received") if entry["path"] == "/api/v1/backup/start"])

    def live_clients(self) -> int:
        return sum(job["alive"] for job in self.call("GET", "jobs"))


@contextmanager
def reference_vma(folder: Path) -> Iterator[Vma]:
    port, disks, password = free_ports(1), folder / "disks", folder / "password"
    disks.mkdir(parents=True)
    password.write_text(PASSWORD)
    environment = os.environ | {
        "PYTHONPATH": python_path("hack/reference-vma"),
        "VCENTER_PASSWORD_FILE": str(password),
    }
    command = [sys.executable, "-m", "reference_vma", "--port", str(port), "--disks", str(disks)]
    command += ["--control-plane", "http://127.0.0.1:1"]
    with (folder / "vma.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        vma = Vma(f"http://127.0.0.1:{port}", disks)

        def answers() -> bool:
            try:
                return httpx.get(f"{vma.url}/api/v1/health").status_code == 200
            except httpx.HTTPError:
                return False

        until(answers, "the reference VMA")
        yield vma
    finally:
        process.terminate()
        process.wait(30)
