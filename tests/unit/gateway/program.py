"""A program of the gateway's package as a process of its own, and how to wait for what it does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sendense_operator.api.v1alpha1 import names

_PROGRAM = "from {} import run; run()"
GATEWAY = "sendense_operator.gateway.main"
REST = "sendense_operator.gateway.rest.main"
_SOURCES = str(Path(names.__file__).parents[3])


@dataclass(frozen=True)
class Program:
    """One that was started."""

    process: asyncio.subprocess.Process
    stderr: Path

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.stderr.read_text(errors="replace")

    async def end(self) -> tuple[int, str]:
        """Return the exit code and log, once it has ended. Raises TimeoutError."""
        async with asyncio.timeout(20):
            code = await self.process.wait()
        return code, self.log

    async def terminate(self) -> tuple[int, str]:
        """Tell it to end, and see `end`."""
        self.process.send_signal(signal.SIGTERM)
        return await self.end()


@asynccontextmanager
async def running(folder: Path, environment: dict[str, str], module: str = GATEWAY) -> AsyncIterator[Program]:
    """Start it; it is gone at the end. Its log goes to a file, since nobody reads a pipe meanwhile."""
    with (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM.format(module),
            env={**os.environ, "PYTHONPATH": _SOURCES, **environment},
            stderr=stderr,
        )
    try:
        yield Program(process, folder / "stderr")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
