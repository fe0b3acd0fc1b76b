"""What the controller costs while nothing happens."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from hack.bench.scene import timed_backup
from tests.support.kube import Kube
from tests.support.manifests import backup
from tests.support.vma import Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

BACKUPS: Final = 200
IDLE_SECONDS: Final = 60.0
_LABELS: Final = "app.kubernetes.io/name=sendense-backup,app.kubernetes.io/component=controller"
_HEALTH_PORT: Final = "health"


def measure_controller(space: Workspace) -> dict[str, float]:
    """A controller that starts with 200 Completed Backups: its memory, and how often it looks at what."""
    kube = space.kube
    space.add_vm("vm", Disk("empty", 1 << 20))
    name, _ = timed_backup(space, "vm")
    real = space.get(name)
    (deployment,) = kube.select("Deployment", space.operator, labels=_LABELS)
    replicas = deployment["spec"]["replicas"]
    try:
        _scale(space, deployment, 0)
        # While no controller is there, which would run them: copies of a real one, status and all.
        for number in range(BACKUPS):
            kube.create(backup(f"copy-{number}", space.namespace, **_spec(real)))
            kube.merge("Backup", f"copy-{number}", space.namespace, {"status": real["status"]}, sub="status")
    finally:
        _scale(space, deployment, replicas)
    wait_for("the chain's points", lambda: _has_points(space), timeout=120)
    before = _numbers(kube, space.operator)
    time.sleep(IDLE_SECONDS)  # the measured minute itself
    after = _numbers(kube, space.operator)
    return {
        "controller_mb": after["process_resident_memory_bytes"] / 1e6,
        "reconciles_idle_minute": after["sendense_reconciles_total"] - before["sendense_reconciles_total"],
    }


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    spec = dict(obj["spec"])
    return {"vm": spec.pop("vmRef")["name"], "repository": spec.pop("repositoryRef")["name"], **spec}


def _scale(space: Workspace, deployment: dict[str, Any], replicas: int) -> None:
    kube, name = space.kube, deployment["metadata"]["name"]
    kube.merge("Deployment", name, space.operator, {"spec": {"replicas": replicas}})

    def probe() -> None:
        status = kube.get("Deployment", name, space.operator)["status"]
        pods = kube.select("Pod", space.operator, labels=_LABELS)
        until(len(pods) == replicas and status.get("readyReplicas", 0) == replicas, status)

    wait_for(f"{replicas} controllers", probe, timeout=120)


def _has_points(space: Workspace) -> None:
    chains = space.kube.select("BackupChain", space.namespace)
    until(any(chain.get("status", {}).get("points") == BACKUPS + 1 for chain in chains), chains)


def _numbers(kube: Kube, operator: str) -> dict[str, float]:
    """The leader's metrics, summed over labels."""
    totals: dict[str, float] = {}
    for pod in kube.select("Pod", operator, labels=_LABELS):
        name = pod["metadata"]["name"]
        text = kube.request("GET", f"api/v1/namespaces/{operator}/pods/{name}:{_health_port(pod)}/proxy/metrics").text
        if "sendense_leading 1" not in text:
            continue
        for metric, value in re.findall(r"^(\w+)(?:\{.*\})? ([0-9.e+]+)$", text, re.MULTILINE):
            totals[metric] = totals.get(metric, 0.0) + float(value)
    return totals


def _health_port(pod: dict[str, Any]) -> int:
    ports = pod["spec"]["containers"][0]["ports"]
    return int(next(port["containerPort"] for port in ports if port.get("name") == _HEALTH_PORT))
