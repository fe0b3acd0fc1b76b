"""The reference VMA on the host, outside of the cluster, and the way from there to the gateway."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import httpx
from tests.support import programs, setup
from tests.support.kube import Kube
from tests.support.local_programs import free_port
from tests.support.vma import OnHost, ReferenceVMA
from tests.support.waiting import NotYet, wait_for

ANY: Final = "0.0.0.0"  # noqa: S104  # pods have to reach it


@contextmanager
def reference_vma(kube: Kube) -> Iterator[str]:
    """Base URL, as pods see it, of the service that runs in a container on the host's own network."""
    name = f"sendense-test-vma-{secrets.token_hex(4)}"
    port = free_port(ANY)
    address = _host_address(kube)
    folder = programs.data() / "vma"
    programs.engine(
        "run", "--detach", "--name", name, "--network", "host", "--user", "0",
        "--volume", f"{folder}:/srv/sendense/vma", setup.image_name(setup.REFERENCE_VMA),
        "--listen", ANY, "--port", str(port), "--disks", "/srv/sendense/vma",
    )  # fmt: skip
    try:
        base = f"http://{address}:{port}"
        wait_for("the reference VMA on the host", partial(_answers, base), timeout=60)
        yield base
    finally:
        programs.engine("rm", "--force", name)


def appliance_on(base: str, name: str) -> ReferenceVMA:
    """Return an appliance of that service."""
    return ReferenceVMA(OnHost(base), name, f"{base}/appliance/{name}")


@contextmanager
def node_port(kube: Kube, operator: str, name: str) -> Iterator[str]:
    """Base URL of the gateway by a port of a node: a NodePort Service beside the chart's own, of the same pods."""
    chart = kube.get("Service", setup.gateway_service_name(kube), operator)
    service = kube.create(
        {
            "kind": "Service",
            "metadata": {"name": name, "namespace": operator},
            "spec": {
                "type": "NodePort",
                "selector": chart["spec"]["selector"],
                "ports": [{k: port[k] for k in ("port", "targetPort")} for port in chart["spec"]["ports"]],
            },
        }
    )
    try:
        yield f"http://{_node_address(kube)}:{service['spec']['ports'][0]['nodePort']}"
    finally:
        kube.delete("Service", name, operator)


def _node_address(kube: Kube) -> str:
    node = kube.select("Node")[0]
    return next(str(a["address"]) for a in node["status"]["addresses"] if a["type"] == "InternalIP")


def _host_address(kube: Kube) -> str:
    """Return the host's address on the nodes' network: the one it would send from to a node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_node_address(kube), 9))
        return str(probe.getsockname()[0])


def _answers(base: str) -> None:
    try:
        httpx.get(f"{base}/api/v1/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise NotYet(str(error)) from error
