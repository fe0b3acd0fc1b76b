"""The worker's own container in a pod that may hold others: sidecars that a mesh or a policy engine appended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sendense_operator.api.v1alpha1.names import WORKER_CONTAINER
from sendense_operator.cluster.objects import Obj


def worker_state(pod: Mapping[str, Any]) -> Obj:
    """`state` of the container `worker`, by its name: `waiting`, `running` or `terminated`; empty if not known yet."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == WORKER_CONTAINER:
            return status.get("state") or {}
    return {}


def is_worker_running(pod: Mapping[str, Any]) -> bool:
    """Return whether the worker runs. A container beside it that can't start keeps the pod `Pending` all the time."""
    state = worker_state(pod)
    if "terminated" in state or "waiting" in state:
        return False
    return "running" in state or (pod.get("status") or {}).get("phase") == "Running"


def has_worker_ended(pod: Mapping[str, Any]) -> bool:
    """Return whether the worker ended for good (`restartPolicy: Never`), whatever else its pod still runs."""
    return "terminated" in worker_state(pod) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
