"""One `qemu-nbd`: started, watched and closed. Its exit code says nothing about completeness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sendense_operator.logs import get_logger
from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images.qemu_tools import IO_MODES, IoMode, last_line

log = get_logger(__name__)

_READY_SECONDS: Final = 30.0
_READY_POLL: Final = 0.005
_TERM_AGAIN: Final = 2.0
"""A TERM during the start may be swallowed, so it is sent again."""
_SHARED: Final = 8
"""The VMA connects twice at the same time and keeps both."""
_JEMALLOC: Final = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "", "libjemalloc.so.2")
_HEAP: Final = "background_thread:true,dirty_decay_ms:1000,oversize_threshold:0,narenas:1,thp:always"
"""What is free for a second goes back to the kernel, requests of 32 MiB are kept as small ones are, pages are huge."""


@dataclass
class ModeChoice:
    """The best way to touch files that worked so far; shared by all exports of a repository."""

    modes: tuple[IoMode, ...] = IO_MODES

    @property
    def best(self) -> IoMode:
        """The mode to try next."""
        return self.modes[0]

    def refuse(self, stderr: str) -> bool:
        """Drop the best mode after it was refused; False when none is left."""
        dropped, rest = self.modes[0], self.modes[1:]
        if dropped.direct and "O_DIRECT" in stderr:
            rest = tuple(mode for mode in rest if not mode.direct)
        if not rest:
            return False
        log.warning(
            "qemu-nbd refused: trying other options",
            aio=dropped.aio,
            direct=dropped.direct,
            error=last_line(stderr),
            next_aio=rest[0].aio,
            next_direct=rest[0].direct,
        )
        self.modes = rest
        return True


def environment(library: Path = _JEMALLOC) -> dict[str, str]:
    """Return a server's environment: ours, with jemalloc where it is installed.

    QEMU takes a buffer for each request and frees it. glibc returns such buffers to the kernel at once, which then
    clears every page for every request: two thirds of the time a copy takes. glibc's own settings help as well, but
    keep 60 MB for each disk until the end.
    """
    return {**os.environ, "LD_PRELOAD": str(library), "MALLOC_CONF": _HEAP} if library.exists() else dict(os.environ)


@dataclass
class Nbd:
    """A running server. `where`: `-b/-p` or `-k` arguments."""

    what: str
    process: asyncio.subprocess.Process
    stderr_file: Path
    image: str
    """Its image options: it repeats them where it says that it can't open them."""
    files: list[Path] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self.process.returncode is not None

    def stderr(self) -> str:
        """Return last line of what it said."""
        try:
            said = self.stderr_file.read_text("utf-8", "replace")
            return last_line(said, self.image, "the layer") if said else ""
        except OSError:
            return ""

    async def close(self, limit: float) -> None:
        """TERM, which flushes, and wait for `limit` seconds.

        Raises WorkerError ExportFailed when it failed or had to be killed: what it had acknowledged may be
        lost, so its layer must be thrown away.
        """
        died_before = self.gone
        deadline = time.monotonic() + limit
        while not self.gone and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            left = max(0.0, min(_TERM_AGAIN, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), left)
        killed = not self.gone
        if killed:
            await self.kill()
        self._remove_files()
        if killed or died_before or self.process.returncode != 0:
            how = "had to be killed" if killed else f"ended with {self.process.returncode}"
            raise WorkerError(Reason.EXPORT_FAILED, f"{self.what}: qemu-nbd {how}: {self.stderr()}")

    async def kill(self) -> None:
        """End it at once, losing what it had not flushed."""
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
    """Start a server and wait until it serves. `runtime`: folder for its pid file. Raises WorkerError.

    `what` names it in messages and files; `where` are the arguments that say where it listens;
    `options` gives the image options for a mode.
    """
    pid_file, stderr_file = runtime / f"{what}.pid", runtime / f"{what}.err"
    while True:
        pid_file.unlink(missing_ok=True)  # the last server's stays behind
        mode = choice.best
        image = options(mode)
        with stderr_file.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                "qemu-nbd",
                "-t",
                f"--shared={_SHARED}",
                f"--pid-file={pid_file}",
                *where,
                "--image-opts",
                image,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                env=environment(),
            )
        server = Nbd(what, process, stderr_file, image, [pid_file])
        try:
            await _until_ready(server, pid_file)
        except BaseException:
            await server.kill()
            raise
        if not server.gone:
            return server
        said = stderr_file.read_text("utf-8", "replace").replace(image, "the layer")
        # Another server may have settled the question meanwhile: then try what is best now.
        if "in use" in said or (mode == choice.best and not choice.refuse(said)):
            raise WorkerError(Reason.EXPORT_FAILED, f"{what}: qemu-nbd: {last_line(said)}")


async def _until_ready(server: Nbd, pid_file: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not server.gone:
        if _is_written(pid_file):
            return
        if time.monotonic() >= deadline:
            raise WorkerError(Reason.EXPORT_FAILED, f"{server.what}: qemu-nbd did not start in time")
        await asyncio.sleep(_READY_POLL)


def _is_written(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
