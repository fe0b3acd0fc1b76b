"""Workers that start as forks of a process which has imported their program already: 10 ms instead of 600.

Otherwise each is a process as Popen would have started it, with a session, an environment and a log of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.dataplane.fork_server import PACKET_BYTES


class WarmWorkers:
    """The process that forks. It answers `[pid, null]` when a worker starts, and `[pid, exit code]` when it ends."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.dataplane.fork_server"]
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs.fileno())
        self._codes: dict[int, int] = {}

    def start(self, arguments: list[str], environment: dict[str, str], log: Path) -> WarmProcess:
        """Return a new worker. `arguments`: those of run_worker.py; `log`: file for its output."""
        log.touch()
        request = {"arguments": arguments, "environment": environment, "log": str(log)}
        self._socket.send(json.dumps(request).encode())
        while (pid := self._receive(None)) is None:
            pass
        return WarmProcess(self, pid)

    def code(self, pid: int, limit: float) -> int | None:
        """Return the exit code of a worker, or minus the signal that ended it; None if it runs after `limit` s."""
        deadline = time.monotonic() + limit
        with suppress(TimeoutError, BlockingIOError):
            while pid not in self._codes:
                self._receive(max(0.0, deadline - time.monotonic()))
        return self._codes.get(pid)

    def _receive(self, limit: float | None) -> int | None:
        """Take one answer, and return the PID if a worker has started. Raises TimeoutError or BlockingIOError."""
        self._socket.settimeout(limit)
        packet = self._socket.recv(PACKET_BYTES)
        assert packet, "the process that forks workers has ended"
        pid, code = json.loads(packet)
        if code is not None:
            self._codes[pid] = code
            return None
        self._codes.pop(pid, None)  # of an earlier process with that number
        return int(pid)


class WarmProcess:
    """One worker: the part of Popen that tests use."""

    def __init__(self, workers: WarmWorkers, pid: int) -> None:
        self._workers, self.pid = workers, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._workers.code(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit code. Raises TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            self.returncode = self._workers.code(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            # It may end between the two.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


@cache
def warm_workers(folder: Path, python_path: str) -> WarmWorkers:
    """Return the process that forks workers for this one, in the folder of the checkout; it ends with this one."""
    return WarmWorkers(folder, os.environ | {"PYTHONPATH": python_path})
