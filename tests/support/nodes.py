"""What happens to a node, and to the processes on it: by the container engine, behind Kubernetes' back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
from tests.support import chart, repositories, vma
from tests.support.kube import ApiError, Kube
from tests.support.objects import Obj, status_and_reason
from tests.support.programs import engine
from tests.support.waiting import NotYet, until, wait_for

_BY_UID: Final = 'for f in $(grep -lz "^POD_UID=$1" /proc/[0-9]*/environ 2>/dev/null); do p=${f%/environ}; '
_KILL: Final = 'kill -"$2" ${p#/proc/} && n=$((n+1)); done; echo $n'
_FIRST: Final = r"grep -q '^NSpid:.*[[:space:]]1$' $p/status || continue; "
_SIGNAL_API: Final = 'kill -"$1" $(grep -lx kube-apiserver /proc/[0-9]*/comm | cut -d/ -f3)'


def kill_worker(pod: Obj) -> None:
    """SIGKILL for the container's first process, and so for all in it, as the kernel's OOM killer sends it."""
    assert _signal(pod, _FIRST, "KILL") > 0, "no such process"


def log_of(pod: Obj) -> str:
    """Return what it wrote, out of its node: also when the API server knows the pod no more."""
    meta = pod["metadata"]
    folder = f"/var/log/pods/{meta['namespace']}_{meta['name']}_{meta['uid']}"
    return engine("exec", pod["spec"]["nodeName"], "sh", "-c", 'cat "$0"/*/*.log', folder)


def kill_program(pod: Obj, program: str) -> None:
    """SIGKILL for every process of a worker's pod that runs that program."""
    condition = f'[ "$(cat $p/comm)" = {shlex.quote(program)} ] || continue; '
    assert _signal(pod, condition, "KILL") > 0, "no such process"


def _signal(pod: Obj, condition: str, signal: str) -> int:
    """Return how many processes of the pod got it."""
    script = f"n=0; {_BY_UID}{condition}{_KILL}"
    return int(engine("exec", pod["spec"]["nodeName"], "sh", "-c", script, "kill", pod["metadata"]["uid"], signal))


def apart_from_the_vma(kube: Kube) -> int:
    """Return position, among the nodes that take pods, of one without the reference VMA."""
    taken = with_the_vma(kube)
    return next(n for n, _ in enumerate(repositories.worker_nodes(kube)) if n != taken)


def with_the_vma(kube: Kube) -> int:
    """Return position, among the nodes that take pods, of that with the reference VMA."""
    (pod,) = kube.select("Pod", vma.NAMESPACE, fields="status.phase=Running")
    return repositories.worker_nodes(kube).index(pod["spec"]["nodeName"])


@contextmanager
def without_kubelet(kube: Kube, node: str) -> Iterator[None]:
    """Its kubelet is stopped, its pods go on; afterwards it is started, and the node is Ready again."""
    engine("exec", node, "systemctl", "stop", "kubelet")
    try:
        yield
    finally:
        engine("exec", node, "systemctl", "start", "kubelet")
        wait_ready(kube, node)


@contextmanager
def without_api_server(kube: Kube) -> Iterator[None]:
    """The API server stands still; afterwards it answers again.

    Not longer than a minute: then the kubelet would restart it. Its node goes on, as it has the cluster's DNS.
    """
    node = control_plane(kube)
    engine("exec", node, "sh", "-c", _SIGNAL_API, "signal", "STOP")
    try:
        yield
    finally:
        engine("exec", node, "sh", "-c", _SIGNAL_API, "signal", "CONT")
        wait_for("the API server", lambda: _answers(kube), timeout=120)


def wait_ready(kube: Kube, node: str) -> None:
    """Until the node is Ready, and all of the operator that may run there."""
    wait_for(f"{node} Ready", lambda: until(ready(kube, node) == "True", ready(kube, node)), timeout=180)
    for component in ("controller", "gateway", "api"):
        chart.wait_available(kube, component)


def _answers(kube: Kube) -> None:
    try:
        kube.request("GET", "readyz", timeout=5)
    except (ApiError, httpx.HTTPError) as error:
        raise NotYet(str(error)) from error


def ready(kube: Kube, node: str) -> str:
    """Return status of its Ready condition."""
    return status_and_reason(kube.get("Node", node), "Ready")[0]


def control_plane(kube: Kube) -> str:
    """Return the name of the node that runs the API server."""
    (node,) = kube.select("Node", labels="node-role.kubernetes.io/control-plane")
    return str(node["metadata"]["name"])
