"""A stand-in for the gateway: passes the VMA's callbacks on to the worker of this machine, and loses some of them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ERROR = 503


class LossyGateway:
    """Knows what to lose, and what it has lost."""

    def __init__(self, worker_port: int) -> None:
        self._worker_port = worker_port
        self._lock = threading.Lock()
        self._to_fail: list[tuple[str, bool]] = []
        self.failed: list[str] = []
        """Paths of the calls that were answered 503."""

    def fail_once(self, call: str, *, arrives: bool) -> None:
        """The next call with `call` in its path is answered 503; if it `arrives`, only the worker's answer is lost."""
        self._to_fail.append((call, arrives))

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body for the VMA."""
        with self._lock:
            found = next((entry for entry in self._to_fail if entry[0] in path), None)
            if found is not None:
                self._to_fail.remove(found)
                self.failed.append(path)
        if found is not None and not found[1]:
            return _ERROR, b"{}"
        reported = self._pass_on(method, path, body)
        return reported if found is None else (_ERROR, b"{}")

    def _pass_on(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._worker_port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return _ERROR, b"{}"
        finally:
            connection.close()


@contextmanager
def lossy_gateway(worker_port: int) -> Iterator[tuple[str, LossyGateway]]:
    """Its base URL, and it; serving as long as the block lasts."""
    gateway = LossyGateway(worker_port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, reported = gateway.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reported)))
            self.end_headers()
            self.wfile.write(reported)

        def log_message(self, format: str, *args: object) -> None:
            """The VMA's log has all calls."""

    # Any port: those of the bench are free until its workers listen.
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", gateway
        finally:
            server.shutdown()
            thread.join()
