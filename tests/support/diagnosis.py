"""What a person needs to see when a test failed."""

from __future__ import annotations

from typing import Any, Final

import yaml
from tests.support import chart
from tests.support.kube import ApiError, Kube

_KINDS: Final = (
    "VMwareAppliance",
    "BackupPolicy",
    "BackupRepository",
    "ProtectedVM",
    "Backup",
    "BackupChain",
    "Restore",
    "Job",
    "PersistentVolumeClaim",
    "Service",
)
_LINES: Final = 60


def of_namespace(kube: Kube, namespace: str) -> str:
    """Return objects, events and logs of a namespace, and what controller and gateway said about it."""
    parts = [f"===== namespace {namespace} ====="]
    for kind in _KINDS:
        parts += [_object(obj) for obj in _list(kube, kind, namespace)]
    parts += [_event(event) for event in _list(kube, "Event", namespace)]
    for pod in _list(kube, "Pod", namespace):
        parts.append(_pod(pod))
        parts.append(_tail(kube.logs(pod["metadata"]["name"], namespace)))
    for pod in chart.pods(kube):
        meta = pod["metadata"]
        log = kube.logs(meta["name"], meta["namespace"])
        lines = [line for line in log.splitlines() if namespace in line]
        parts += [f"--- {meta['name']}: lines about {namespace}", _tail("\n".join(lines))]
    return "\n".join(parts)


def _list(kube: Kube, kind: str, namespace: str) -> list[dict[str, Any]]:
    try:
        return kube.select(kind, namespace)
    except ApiError as error:
        return [{"kind": kind, "metadata": {"name": f"[{error}]"}}]


def _object(obj: dict[str, Any]) -> str:
    shown = {k: obj[k] for k in ("spec", "status") if k in obj}
    if obj["kind"] == "Job":
        shown = {"status": obj.get("status")}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=160)
    meta = obj["metadata"]
    return f"--- {obj['kind']} {meta['name']} (deleted: {meta.get('deletionTimestamp', 'no')})\n{text}"


def _event(event: dict[str, Any]) -> str:
    about = event.get("involvedObject", {})
    what = f"{about.get('kind')}/{about.get('name')}"
    return f"event {event.get('lastTimestamp')} {what} {event.get('reason')}: {event.get('message')}"


def _pod(pod: dict[str, Any]) -> str:
    status = pod.get("status", {})
    states = [c.get("state") for c in status.get("containerStatuses", [])]
    return f"--- Pod {pod['metadata']['name']} {status.get('phase')} {states}"


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES:])
