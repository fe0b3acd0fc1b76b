"""What the controller needs with thousands of restore points: memory, and time to restart, adopt and let go.

The controller is the real program; the API server is one in memory, since no test cluster should hold so many objects.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from hack.bench.fullrepository import FullRepository
from tests.support.kube import CHECKOUT
from tests.support.local_programs import free_port, write_kubeconfig

COUNT: Final = 10_000
QUIET_S: Final = 8.0
"""Seconds without a reconcile of a Backup or a chain, after which the controller is steady."""
_POLL_S: Final = 0.5


def controller(count: int = COUNT, quiet: float = QUIET_S) -> dict[str, float]:
    """Numbers with `count` restore points, named by it. Raises AssertionError when one is never reached."""
    return asyncio.run(_measure(count, quiet))


async def _measure(count: int, quiet: float) -> dict[str, float]:
    api = FullRepository()
    async with api.serving() as url, running_controller(url) as empty:
        await _steady(empty, quiet)
        base = empty.peak_bytes()
    api.fill(count)
    async with api.serving() as url:
        async with running_controller(url) as adopter:
            adopting = await _timed(lambda: api.completed == count, "a Completed Backup for each restore point")
            peaks = [adopter.peak_bytes()]
        async with running_controller(url) as restarted:
            began = time.monotonic()
            await _steady(restarted, quiet)
            restarting = time.monotonic() - began - quiet
            peaks.append(restarted.peak_bytes())
            api.terminate()
            deleting = await _timed(lambda: api.backups == 0, "all Backups gone")
            peaks.append(restarted.peak_bytes())
    return {
        f"controller_mb_{count}": max(peaks) / 1e6,
        f"restart_{count}_seconds": restarting,
        f"adopt_{count}_seconds": adopting,
        f"delete_namespace_{count}_seconds": deleting,
        f"kb_per_backup_{count}": (peaks[1] - base) / count / 1e3,
    }


@dataclass(frozen=True)
class Program:
    """A running controller."""

    pid: int
    http: httpx.AsyncClient

    def peak_bytes(self) -> float:
        """Return most resident bytes since its start."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", text)
        return float(peak) * 1024

    async def is_ready(self) -> bool:
        """Return whether its readiness probe succeeds."""
        try:
            return (await self.http.get("/readyz")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def reconciles(self) -> float:
        """Reconciles of Backups and chains since its start."""
        text = (await self.http.get("/metrics")).text
        counts = re.findall(r'^sendense_reconciles_total{kind="Backup(?:Chain)?"} (\S+)$', text, re.MULTILINE)
        return sum(map(float, counts))


@asynccontextmanager
async def running_controller(api: str) -> AsyncIterator[Program]:
    """Run a controller against the API server at that URL, until the block ends; it is ready when the block begins."""
    port = free_port()
    with TemporaryDirectory() as keys, TemporaryDirectory() as folder:
        config = write_kubeconfig(Path(folder) / "kubeconfig", api)
        (Path(keys) / "key").write_bytes(secrets.token_bytes(32))
        settings = {
            "HEALTH_PORT": str(port), "OPERATOR_NAMESPACE": "operator", "WORKER_IMAGE": "worker",
            "CALLBACK_KEY_FOLDER": keys, "LOG_LEVEL": "ERROR",
        }  # fmt: skip
        environment = {f"SENDENSE_{name}": value for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sendense_operator", "controller",
            env={**os.environ, **environment, "KUBECONFIG": str(config), "PYTHONPATH": str(CHECKOUT / "operator")},
        )  # fmt: skip
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            try:
                program = Program(process.pid, http)
                await _ready(program)
                yield program
            finally:
                await _end(process)


async def _ready(program: Program) -> None:
    async with asyncio.timeout(120):
        while True:
            if await program.is_ready():
                return
            await asyncio.sleep(_POLL_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _steady(program: Program, quiet: float) -> None:
    """Wait until no Backup and no chain was reconciled for `quiet` seconds."""
    seen, since = -1.0, time.monotonic()
    async with asyncio.timeout(600):
        while time.monotonic() - since < quiet:
            now = await program.reconciles()
            if now != seen:
                seen, since = now, time.monotonic()
            await asyncio.sleep(_POLL_S)


async def _timed(condition: Callable[[], bool], what: str, limit: float = 1800) -> float:
    """Return seconds until the condition holds. Raises AssertionError after `limit`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            raise AssertionError(f"{what}: not within {limit:.0f} s")
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - began
