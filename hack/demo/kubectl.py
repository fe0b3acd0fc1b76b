"""kubectl and the operator's command line as functions, and a Service as a local URL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
KUBECONFIG = Path(os.environ.get("KUBECONFIG") or CHECKOUT / "build" / "kubeconfig")
_ENVIRONMENT = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}

Object = dict[str, Any]


class DemoError(Exception):
    """Ends the demo; the text says what to look at."""


def kubectl(*arguments: str, given: str | Path | None = None) -> str:
    """Return standard output; `given` (a text or a file) is its input. Raises DemoError with kubectl's words."""
    content = given.read_bytes() if isinstance(given, Path) else (given or "").encode()
    done = subprocess.run(["kubectl", *arguments], input=content, env=_ENVIRONMENT, capture_output=True, check=False)
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        words = f"{done.stderr.decode(errors='replace').strip()}\n{output.strip()}".strip()
        raise DemoError(f"kubectl {' '.join(arguments)}\n{words}")
    return output


def get(*arguments: str) -> Object:
    """`kubectl get … -o json`."""
    answer: Object = json.loads(kubectl("get", *arguments, "-o", "json"))
    return answer


def sendense(*arguments: str) -> int:
    """Run the operator's command line in the present terminal; its exit code."""
    path = os.pathsep.join([str(CHECKOUT / ".venv" / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["kubectl", "sendense", *arguments], env=_ENVIRONMENT | {"PATH": path}, check=False
    ).returncode


@contextmanager
def forwarded(service: str, port: int, namespace: str) -> Iterator[str]:
    """A base URL on this machine that leads to a Service."""
    tunnel = subprocess.Popen(
        ["kubectl", "port-forward", "-n", namespace, f"service/{service}", f":{port}"],
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        first = (tunnel.stdout.readline() if tunnel.stdout else "").strip()
        found = re.search(r"127\.0\.0\.1:(\d+)", first)
        if not found:
            raise DemoError(f"kubectl port-forward service/{service}: {first}")
        # Its further lines are read away, so that it never waits for us.
        threading.Thread(target=lambda: list(tunnel.stdout or ()), daemon=True).start()
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        tunnel.terminate()
        tunnel.wait()


def call(method: str, url: str, body: Object | None = None) -> Any:
    """Return one JSON call; None for an empty answer. Raises DemoError with the server's text."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise DemoError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(text) if text else None
