"""The NBD side: two connections per disk, large writes in flight from several threads over one handle."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from typing import Any, Final

import nbd

from reference_vma.targets import Target

_READ: Final = 1
_WRITE: Final = 2


class ExportError(Exception):
    """The export cannot be used, or a request on it failed."""


def _connect(target: Target) -> Any:
    handle = nbd.NBD()
    handle.set_export_name(target.export)
    # The bounds are left to the server: a write past the end fails there.
    handle.set_strict_mode(handle.get_strict_mode() & ~nbd.STRICT_BOUNDS)
    handle.connect_tcp(target.host, str(target.port))
    _do_not_pace(handle.aio_get_fd())
    return handle


def _do_not_pace(descriptor: int) -> None:
    """Send as Linux does by default, whatever this machine is set to: BBR would pace it."""
    with socket.socket(fileno=os.dup(descriptor)) as own:
        for algorithm in (b"cubic", b"reno"):
            with suppress(OSError):
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm)
                return


class _Request:
    """One command in flight; `done` is set when it ended."""

    def __init__(self, cookie: int, buffer: Any) -> None:
        self.cookie = cookie
        self.buffer = buffer  # keeps the memory alive as long as the library reads from it
        self.done = threading.Event()
        self.error = ""


class Export:
    """An export with its idle and its data connection.

    Threads issue requests and wait for them; one pump thread serves the socket, so that the requests of all
    threads overlap on one handle.
    """

    def __init__(self, target: Target) -> None:
        """Connect twice. Raises ExportError; hangs where a server admits one client only."""
        try:
            self.idle: Any = _connect(target)
            self._data: Any = _connect(target)
        except nbd.Error as error:
            raise ExportError(str(error)) from error
        self._lock = threading.Lock()
        self._pending: list[_Request] = []
        self._wake_read, self._wake_write = os.pipe()
        self._closing = False
        self._pump = threading.Thread(target=self._run, name="nbd-pump", daemon=True)
        self._pump.start()

    def write(self, data: memoryview, offset: int) -> None:
        """Write and wait for the answer, without limit. No FUA, no flush. Raises ExportError."""
        buffer = nbd.Buffer.from_buffer(data)
        self._finish(self._issue(lambda: self._data.aio_pwrite(buffer, offset), buffer))

    def zero(self, count: int, offset: int) -> None:
        """WRITE_ZEROES. Raises ExportError when the server refuses."""
        self._finish(self._issue(lambda: self._data.aio_zero(count, offset), None))

    def close_data(self) -> None:
        """Close the data connection; the idle one stays until the process ends."""
        self._closing = True
        os.write(self._wake_write, b"x")
        self._pump.join()
        try:
            self._data.shutdown()
        except nbd.Error:
            return

    def _issue(self, command: Any, buffer: Any) -> _Request:
        try:
            with self._lock:
                request = _Request(command(), buffer)
                self._pending.append(request)
        except nbd.Error as error:
            raise ExportError(str(error)) from error
        os.write(self._wake_write, b"x")
        return request

    def _finish(self, request: _Request) -> None:
        request.done.wait()
        if request.error:
            raise ExportError(request.error)

    def _run(self) -> None:
        while not self._closing:
            with self._lock:
                handle = self._data.aio_get_fd() if not self._is_dead() else None
                direction = self._data.aio_get_direction() if handle is not None else 0
            reads: list[Any] = [self._wake_read] + ([handle] if direction & _READ else [])
            writes: list[Any] = [handle] if direction & _WRITE else []
            readable, writable, _ = select.select(reads, writes, [])
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            with self._lock:
                # Answers come by reading: after a piece of a write there is nothing to collect.
                if self._serve(handle in readable, bool(writable)) or self._is_dead():
                    self._collect()

    def is_dead(self) -> bool:
        """Return whether the data connection is gone."""
        with self._lock:
            return self._is_dead()

    def _is_dead(self) -> bool:
        return bool(self._data.aio_is_dead() or self._data.aio_is_closed())

    def _serve(self, readable: bool, writable: bool) -> bool:
        """Return whether something was read."""
        try:
            # The state may have changed since select: ask again what it waits for.
            direction = self._data.aio_get_direction() if not self._is_dead() else 0
            if readable and direction & _READ:
                self._data.aio_notify_read()
                return True
            if writable and direction & _WRITE:
                self._data.aio_notify_write()
        except nbd.Error:
            pass  # the connection is dead: _collect tells everybody
        return False

    def _collect(self) -> None:
        for request in list(self._pending):
            try:
                ended = bool(self._data.aio_command_completed(request.cookie))
            except nbd.Error as error:
                ended, request.error = True, str(error)
            if not ended and self._is_dead():
                ended, request.error = True, "the connection is dead"
            if ended:
                self._pending.remove(request)
                request.done.set()
