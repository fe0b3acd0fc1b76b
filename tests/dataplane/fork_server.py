"""A process that has imported the worker's program, and forks a worker for each request; see warm_workers.

`python -m tests.dataplane.fork_server`, with a socket of packets as standard input.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
from typing import Any, Final, NoReturn

from tests.dataplane import run_worker

PACKET_BYTES: Final = 1 << 18


def main() -> None:
    """Serve until the other end closes the socket."""
    gc.freeze()  # so that no worker's collections touch what they all share
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(key.data, 0)
                    requests.send(json.dumps([key.data, os.waitstatus_to_exitcode(status)]).encode())
                elif packet := requests.recv(PACKET_BYTES):
                    pid = _fork(json.loads(packet))
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    requests.send(json.dumps([pid, None]).encode())
                else:
                    return


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _become_worker(request)
    return pid


def _become_worker(request: dict[str, Any]) -> NoReturn:
    """Be what Popen would have started, up to the exit code."""
    code = 1
    try:
        os.setsid()
        nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND)
        for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(ours, theirs)
        # The server's and its other workers'; nothing of the program has been opened before the fork.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[1:] = request["arguments"]
        try:
            code = run_worker.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        # as at the end of an interpreter: one that hangs is to be noticed
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the tests'
    main()
