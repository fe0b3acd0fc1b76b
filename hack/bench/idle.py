"""What the controller costs that has nothing to do: memory with many Completed Backups, reconciles a minute."""

from __future__ import annotations

import copy
import re
import time
from functools import partial
from typing import Any, Final

from tests.support import chart, manifests
from tests.support.vma import Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

COUNT: Final = 200
POLICIES: Final = 200
_MINUTE: Final = 60.0
_QUIET: Final = 10.0
_YEARLY: Final[dict[str, Any]] = {
    "schedules": [{"name": "yearly", "cron": "0 3 1 1 *"}],
    "retention": {"keepLast": 1000, "includeManual": True},
}
_KEPT: Final = ("name", "namespace", "labels", "annotations")


def controller(space: Workspace) -> dict[str, float]:
    """Measure memory and reconciles with COUNT Completed Backups in the cluster, all but one copies of that one.

    POLICIES policies with a schedule and a retention choose that VM; the oldest rules it.

    The controller is away while they are made, so that it meets them as it would after a restart: complete.
    """
    space.add_vm("small", Disk("random", 1 << 20))
    space.backup("model", vm="small")
    space.wait_phase("Completed", "model")
    model = space.get("model")
    _scale(space, 0)
    try:
        for number in range(COUNT - _completed(space)):
            _clone(space, model, f"copy-{number:03}")
        for number in range(POLICIES):
            space.kube.create(manifests.backup_policy(f"idle-{number:03}", space.namespace, vms=("small",), **_YEARLY))
    finally:
        _scale(space, 1)
    _settle(space)
    before, started = _reconciles(space), time.monotonic()
    time.sleep(_MINUTE)
    passed = time.monotonic() - started
    reconciles = (_reconciles(space) - before) * _MINUTE / passed
    (resident,) = _metric(space, "process_resident_memory_bytes")
    return {"controller_mb": resident / 1e6, "reconciles_idle_minute": reconciles}


def _completed(space: Workspace) -> int:
    found = space.kube.select("Backup")
    return sum(backup.get("status", {}).get("phase") == "Completed" for backup in found)


def _clone(space: Workspace, model: dict[str, Any], name: str) -> None:
    """A Backup with the status of another one."""
    meta = {key: model["metadata"][key] for key in _KEPT if key in model["metadata"]}
    created = space.kube.create({"kind": "Backup", "metadata": {**meta, "name": name}, "spec": model["spec"]})
    status = copy.deepcopy(model["status"])
    status["observedGeneration"] = created["metadata"]["generation"]
    space.kube.merge("Backup", name, space.namespace, {"status": status}, sub="status")


def _scale(space: Workspace, replicas: int) -> None:
    deployment = chart.only(space.kube, "Deployment", "controller")
    name = deployment["metadata"]["name"]
    space.kube.merge("Deployment", name, space.operator, {"spec": {"replicas": replicas}})
    wait_for(f"{replicas} controllers", partial(_scaled, space, replicas), timeout=120)


def _scaled(space: Workspace, replicas: int) -> None:
    status = chart.only(space.kube, "Deployment", "controller").get("status", {})
    pods = _pods(space)
    until(status.get("readyReplicas", 0) == replicas and len(pods) == replicas, status)


def _pods(space: Workspace) -> list[dict[str, Any]]:
    return space.kube.select("Pod", space.operator, labels="app.kubernetes.io/component=controller")


def _settle(space: Workspace) -> None:
    """Until nothing new was reconciled for a while."""
    seen = [-1.0, time.monotonic()]

    def probe() -> None:
        now = _reconciles(space)
        if now != seen[0]:
            seen[:] = [now, time.monotonic()]
        until(time.monotonic() - seen[1] > _QUIET, now)

    # objects that are checked again and again (health, capacity) never let it come to rest: then go on as it is
    try:
        wait_for("a quiet controller", probe, timeout=60)
    except AssertionError:
        return


def _reconciles(space: Workspace) -> float:
    return sum(_metric(space, "sendense_reconciles_total"))


def _metric(space: Workspace, name: str) -> list[float]:
    """Return values of a metric, one a set of labels."""
    (pod,) = _pods(space)
    (port,) = [p["containerPort"] for p in pod["spec"]["containers"][0]["ports"] if p["name"] == "health"]
    path = f"api/v1/namespaces/{space.operator}/pods/{pod['metadata']['name']}:{port}/proxy/metrics"
    text = space.kube.request("GET", path).text
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)]
