import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import yaml
from tests.unit.cluster.apiserver import running_api

from sendense_operator.api.v1alpha1 import names

PROGRAM = "from sendense_operator.gateway.main import run; run()"
SOURCES = str(Path(names.__file__).parents[3])


def kubeconfig(path: Path, url: str) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return path


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env={**os.environ, "PYTHONPATH": SOURCES, **environment},
        stderr=asyncio.subprocess.PIPE,
    )


async def ready(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(60):
        while True:
            try:
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)


async def test_the_program_serves_and_ends_at_term(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running_api() as api:
        program = await start(
            {
                "KUBECONFIG": str(kubeconfig(tmp_path / "config", api.url)),
                "SENDENSE_LISTEN_PORT": str(port),
                "SENDENSE_DRAIN_SECONDS": "0.1",
                "SENDENSE_NAMESPACES": "shop",
            }
        )
        try:
            await ready(port)
            program.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                _, log = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
        assert program.returncode == 0, log.decode()
        assert b" INFO gateway backup=- " in log
        assert b"ended" in log


async def test_a_wrong_setting_is_named() -> None:
    program = await start({"SENDENSE_HOLD_SECONDS": "long"})
    _, log = await program.communicate()
    assert program.returncode == 1
    assert b"SENDENSE_HOLD_SECONDS" in log
