"""Start, supervision and end of one `qemu-nbd` process. Its exit code does not prove that all data was written."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.qemu_tools import IO_MODES, JSON_IMAGE, IoMode, last_line

log = get_logger(__name__)

_READY_SECONDS: Final = 30.0
_READY_POLL: Final = 0.005
_TERM_AGAIN: Final = 2.0
"""Seconds after which SIGTERM is repeated: one that arrives during the start may be lost."""
_SHARED: Final = 8
"""Clients at the same time: the VMA makes two connections and keeps both (vma-contract 3.3)."""


@dataclass
class ModeChoice:
    """The I/O modes that have not failed yet, best first; shared by all exports of a repository."""

    modes: tuple[IoMode, ...] = IO_MODES

    @property
    def best(self) -> IoMode:
        """The mode to try next."""
        return self.modes[0]

    def refuse(self, stderr: str) -> bool:
        """Drop the best mode because qemu-nbd failed with it; return False if it was the last one."""
        dropped, rest = self.modes[0], self.modes[1:]
        if dropped.direct and "O_DIRECT" in stderr:
            rest = tuple(mode for mode in rest if not mode.direct)
        if not rest:
            return False
        log.warning(
            "qemu-nbd refused these I/O options, trying others",
            aio=dropped.aio,
            direct=dropped.direct,
            error=last_line(stderr),
            next_aio=rest[0].aio,
            next_direct=rest[0].direct,
        )
        self.modes = rest
        return True


@dataclass
class Nbd:
    """A running server."""

    what: str
    """Name in messages and files."""
    process: asyncio.subprocess.Process
    stderr_file: Path
    image: str
    """Its image options, which its error messages repeat."""
    files: list[Path] = field(default_factory=list)
    """Files to remove when it has ended."""

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self.process.returncode is not None

    def stderr(self) -> str:
        """Return the last line of its error output, empty if there is none."""
        try:
            output = self.stderr_file.read_text("utf-8", "replace")
            return last_line(output, self.image, "the layer") if output else ""
        except OSError:
            return ""

    async def close(self, limit: float) -> None:
        """End the server with SIGTERM, on which it flushes, and wait up to `limit` seconds.

        Raises WorkerError ExportFailed if it failed or had to be killed: data that it had acknowledged may be lost, so
        its layer must not be used.
        """
        died_before = self.gone
        deadline = time.monotonic() + limit
        while not self.gone and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            remaining = max(0.0, min(_TERM_AGAIN, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), remaining)
        killed = not self.gone
        if killed:
            await self.kill()
        self._remove_files()
        if killed or died_before or self.process.returncode != 0:
            how = "had to be killed" if killed else f"ended with exit code {self.process.returncode}"
            raise WorkerError(Reason.EXPORT_FAILED, f"{self.what}: qemu-nbd {how}: {self.stderr()}")

    async def kill(self) -> None:
        """Kill the server; data that it has not flushed is lost."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self._remove_files()

    def _remove_files(self) -> None:
        for path in self.files:
            path.unlink(missing_ok=True)


async def start(
    what: str, where: list[str], options: Callable[[IoMode], str], choice: ModeChoice, runtime: Path
) -> Nbd:
    """Start a server and wait until it serves. Raises WorkerError.

    `what`: its name in messages and files. `where`: the arguments for its address or socket (`-b` and `-p`, or `-k`).
    `options`: returns the image options for an I/O mode. `runtime`: folder for its PID file.
    """
    pid_file, stderr_file = runtime / f"{what}.pid", runtime / f"{what}.err"
    while True:
        pid_file.unlink(missing_ok=True)  # a server that failed may have left it
        mode = choice.best
        image = options(mode)
        with stderr_file.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                "qemu-nbd",
                "-t",
                f"--shared={_SHARED}",
                f"--pid-file={pid_file}",
                *where,
                *([] if image.startswith(JSON_IMAGE) else ["--image-opts"]),
                image,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
        server = Nbd(what, process, stderr_file, image, [pid_file])
        try:
            await _until_ready(server, pid_file)
        except BaseException:
            await server.kill()
            raise
        if not server.gone:
            return server
        output = stderr_file.read_text("utf-8", "replace").replace(image, "the layer")
        # If another server has refused this mode meanwhile, the next one is tried without a further refusal.
        if "in use" in output or (mode == choice.best and not choice.refuse(output)):
            raise WorkerError(Reason.EXPORT_FAILED, f"{what}: qemu-nbd: {last_line(output)}")


@asynccontextmanager
async def served(
    what: str,
    flags: Sequence[str],
    options: Callable[[IoMode], str],
    choice: ModeChoice,
    runtime: Path,
    close_seconds: float,
) -> AsyncIterator[Path]:
    """Serve an image at a Unix socket, which is yielded, until the block ends; `flags`: further arguments.

    Other parameters as for `start`; `close_seconds`: as for `Nbd.close`, which ends it unless the block raises. Raises
    WorkerError.
    """
    where = runtime / f"{what}.sock"
    where.unlink(missing_ok=True)
    server = await start(what, [*flags, "-k", str(where)], options, choice, runtime)
    try:
        yield where
        await server.close(close_seconds)
    finally:
        if not server.gone:
            await server.kill()
        where.unlink(missing_ok=True)


async def _until_ready(server: Nbd, pid_file: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not server.gone:
        if _is_written(pid_file):
            return
        if time.monotonic() >= deadline:
            raise WorkerError(
                Reason.EXPORT_FAILED, f"{server.what}: qemu-nbd did not start within {_READY_SECONDS:.0f} s"
            )
        await asyncio.sleep(_READY_POLL)


def _is_written(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
