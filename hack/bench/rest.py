"""How fast REST lists, and what the gateway needs for it: 10,000 Backups, the gateway on one core.

The gateway is the real program; the API server is one in memory, since no test cluster should hold so many objects.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from aiohttp import web
from tests.support.kube import CHECKOUT
from tests.support.local_programs import eventually, free_port, write_kubeconfig
from tests.support.loopback import loopback

COUNT: Final = 10_000
_VMS: Final = 100
_CALLS: Final = 500
_NAMESPACE: Final = "bench"


def gateway() -> dict[str, float]:
    """Return the 99th percentile of filtered lists in milliseconds, and the gateway's memory afterwards."""
    return asyncio.run(_measure())


def _backup(number: int) -> dict[str, Any]:
    vm = f"vm{number % _VMS}"
    disk = {
        "id": 0, "key": 2000, "virtualSize": 1 << 40, "bytesTransferred": 1 << 36, "percent": 100, "type": "Full",
        "file": f"{_NAMESPACE}/{vm}/disk-0/full-{number}.qcow2", "storedBytes": 1 << 36,
        "changeID": f"52 3e 1f/{number}",
    }  # fmt: skip
    ready = {"type": "Ready", "status": "True", "reason": "Completed", "message": "x" * 100}
    return {
        "metadata": {
            "namespace": _NAMESPACE, "name": f"backup-{number:05}", "uid": f"uid-{number}", "resourceVersion": "1",
            "creationTimestamp": f"2026-11-{number % 28 + 1:02}T16:49:28Z",
            "managedFields": [{"manager": "m", "fieldsV1": {f"f:field{n}": {} for n in range(60)}}],
        },
        "spec": {"vmRef": {"name": vm}, "repositoryRef": {"name": f"repo{number % 7}"}, "type": "Full"},
        "status": {
            "phase": "Completed", "type": "Full", "vmName": vm.upper(), "storedBytes": 1 << 36, "manifest": "m.json",
            "startTime": "2026-11-01T16:49:28Z", "completionTime": "2026-11-01T16:59:28Z",
            "progress": {"bytesTransferred": 1 << 36, "totalBytes": 1 << 40, "percent": 100},
            "disks": [disk], "conditions": [ready],
        },
    }  # fmt: skip


async def _answer(request: web.Request) -> web.StreamResponse:
    """Pages of Backups, watches in which nothing happens, and yes to every review."""
    if request.method == "POST":
        user = {"authenticated": True, "user": {"username": "bench"}, "allowed": True}
        return web.json_response({"status": user})
    if "watch" in request.query:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(float(request.query["timeoutSeconds"]))
        return response
    count = COUNT if request.path.endswith("/backups") else 0
    start = int(request.query.get("continue", 0))
    end = min(count, start + int(request.query["limit"]))
    meta = {"resourceVersion": "1", **({"continue": str(end)} if end < count else {})}
    return web.json_response({"metadata": meta, "items": [_backup(number) for number in range(start, end)]})


@asynccontextmanager
async def _program(api: str) -> AsyncIterator[tuple[str, str]]:
    """The REST program on the first core; its base URL, and that of its metrics."""
    rest, metrics = free_port(), free_port()
    with TemporaryDirectory() as folder:
        config = write_kubeconfig(Path(folder) / "kubeconfig", api)
        settings = {"REST_PORT": rest, "REST_METRICS_PORT": metrics, "REST_NAMESPACE": _NAMESPACE, "DRAIN_SECONDS": 0.1}
        environment = {f"SENDENSE_{name}": str(value) for name, value in settings.items()}
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sendense_operator", "rest", stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **environment, "KUBECONFIG": str(config), "PYTHONPATH": str(CHECKOUT / "operator")},
        )  # fmt: skip
        os.sched_setaffinity(program.pid, {min(os.sched_getaffinity(0))})
        try:
            yield f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{metrics}"
        finally:
            program.terminate()
            await program.wait()


async def _measure() -> dict[str, float]:
    async with (
        loopback(_answer) as api,
        _program(api) as (url, numbers),
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        await eventually(lambda: _is_ready(http))
        headers = {"Authorization": "Bearer bench"}
        taken = []
        for number in range(_CALLS):
            query = {"vm_name": f"VM{number % _VMS}", "status": "completed", "backup_type": "full"}
            began = time.perf_counter()
            answer = await http.get("/api/v1/backup/list", params=query, headers=headers)
            taken.append(time.perf_counter() - began)
            assert json.loads(answer.content)["total"] == COUNT // _VMS, answer.text[:200]
        text = (await http.get(f"{numbers}/metrics")).text
    (resident,) = re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    return {"list_p99_ms": sorted(taken)[_CALLS * 99 // 100] * 1e3, "gateway_mb": float(resident) / 1e6}


async def _is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).is_success
