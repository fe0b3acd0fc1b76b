"""Programs of the machine: kubectl as a user runs it, the container engine of the test cluster."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.kube import CHECKOUT, KUBECONFIG

_ENTRY: Final = CHECKOUT / "hack" / "cluster"


class ProgramError(Exception):
    """A program ended with an exit code other than 0; the text is what it wrote."""


@cache
def environment() -> dict[str, str]:
    """Ours, with the test cluster's kubeconfig, engine and tools as `hack/cluster env` prints them."""
    printed = subprocess.run([str(_ENTRY), "env"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = dict(os.environ)
    for line in printed.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        found[name] = "".join(shlex.split(value))
    found["KUBECONFIG"] = str(KUBECONFIG)
    # kubectl keeps what a server serves by its address: a cluster before this one may have had the same
    found["KUBECACHEDIR"] = str(CHECKOUT / "build" / "kubectl" / str(os.getpid()))
    return found


def run(*command: str, stdin: str | None = None, timeout: float = 300, cwd: Path | None = None) -> str:
    """Return what the program printed. Raises ProgramError with all it wrote when its exit code is not 0."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=environment(), timeout=timeout, cwd=cwd, check=False
    )
    if done.returncode != 0:
        raise ProgramError(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 300) -> str:
    """As a user would."""
    return run("kubectl", *arguments, stdin=stdin, timeout=timeout)


@contextmanager
def forwarded(target: str, port: int, namespace: str) -> Iterator[str]:
    """HOST:PORT on this machine that leads to a pod while the block runs. Raises ProgramError.

    `target`: `pod/NAME`, or `service/NAME` for one of its pods.
    """
    command = ("kubectl", "port-forward", "-n", namespace, target, f":{port}")
    tunnel = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert tunnel.stdout is not None
        first = tunnel.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", first)
        if found is None:
            raise ProgramError(f"{shlex.join(command)}: {first}")
        # its further lines are read away, so that it never waits for us
        threading.Thread(target=tunnel.stdout.read, daemon=True).start()
        yield found[0]
    finally:
        tunnel.terminate()
        tunnel.wait()


def engine(*arguments: str, timeout: float = 300) -> str:
    """Run the container engine of the test cluster (docker or podman); return its output."""
    return run(environment()["SENDENSE_CONTAINER_COMMAND"], *arguments, timeout=timeout)


def data() -> Path:
    """Return the folder that the host shares with all nodes (there: /srv/sendense)."""
    return Path(environment()["SENDENSE_DATA"])
