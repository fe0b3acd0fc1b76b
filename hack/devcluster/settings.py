"""Versions and paths: what is pinned, and where everything built or running lives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

KUBERNETES: Final = "1.36.3"
KIND: Final = "0.33.0"
"""The last one known to start nodes on cgroup v1; check that before raising it."""
HELM: Final = "3.22.0"
PROMETHEUS: Final = "0.316.0"
"""Prometheus 3.16.0: the version of its Go module."""
KUBEVIRT: Final = "1.5.0"
"""The version whose VirtualMachine the tests know."""
GOVMOMI: Final = "0.53.0"
"""VMware's library with a client and a simulator of vCenter."""
UV: Final = "0.13.9"
GO_MINIMUM: Final = (1, 26)
PUBLISHED_NODE_IMAGE: Final = (
    "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
)
"""The node image that kind 0.33.0 was published with."""
KIND_LABEL: Final = "io.x-k8s.kind.cluster"
"""On each container that kind makes: its cluster."""

CHECKOUT: Final = Path(__file__).resolve().parents[2]
BUILD: Final = CHECKOUT / "build"
DATA: Final = BUILD / "data"
"""The same folder on the host and, as NODE_DATA, on every node."""
NODE_DATA: Final = "/srv/sendense"
KUBECONFIG: Final = BUILD / "kubeconfig"
CHOICE: Final = BUILD / "engine"
"""Which engine this checkout's cluster runs on: written by `up`, removed by `down`."""
ENVIRONMENT: Final = BUILD / "cluster.env"

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup"
TOOLS: Final = CACHE / "tools"
LOCKS: Final = CACHE / "locks"


def cluster_name(checkout: Path = CHECKOUT) -> str:
    """Return the kind cluster of a checkout: two checkouts on one machine never share one."""
    return f"sendense-{hashlib.sha256(str(checkout).encode()).hexdigest()[:6]}"


def nodes() -> list[str]:
    """Return the names of the cluster's node containers, control plane first; as kind makes them."""
    name = cluster_name()
    return [f"{name}-control-plane", f"{name}-worker", f"{name}-worker2"]
