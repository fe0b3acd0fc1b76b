"""What programs of the operator need that run on this machine, against an API server in memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import yaml

TOKEN: Final = "programs-own"


def write_kubeconfig(path: Path, url: str) -> Path:
    """For the API server at that URL, with TOKEN."""
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": TOKEN}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port of an address that nobody listens on."""
    with socket.create_server((address, 0)) as free:
        return int(free.getsockname()[1])


async def eventually(probe: Callable[[], Awaitable[object]], limit_s: float = 60.0) -> None:
    """Wait until the probe says yes; a connection that fails is a no. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while True:
            try:
                if await probe():
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
