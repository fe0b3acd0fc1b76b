"""Which Jobs and pods count as the operator's own: by owner reference and by name. Pure.

Labels alone prove nothing: whoever may create Jobs or pods in a namespace can set them. A Job that somebody else made
must not take a slot, and a pod that somebody else made must not answer for a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import consolidation_name, restore_name, verification_name, worker_name

Obj = Mapping[str, Any]

_NAME_KEPT: Final = 58
"""Characters of a generated name that the API server keeps before its own five."""


def is_worker_job(job: Obj) -> bool:
    """Return whether a Job is that of the Backup that controls it: its name is made of the Backup's name and UID."""
    return _is_job_of(job, "Backup", worker_name)


def is_verification_job(job: Obj) -> bool:
    """Return whether a Job is that of the BackupChain that controls it, by its name."""
    return _is_job_of(job, "BackupChain", verification_name)


def is_consolidation_job(job: Obj) -> bool:
    """Return whether a Job is the consolidation of the BackupChain that controls it, by its name."""
    return _is_job_of(job, "BackupChain", consolidation_name)


def is_restore_job(job: Obj) -> bool:
    """Return whether a Job is that of the Restore that controls it, by its name."""
    return _is_job_of(job, "Restore", restore_name)


def _is_job_of(job: Obj, kind: str, name_of: Callable[[str, str], str]) -> bool:
    owner = _controller(job, kind)
    if owner is None or not str(owner.get("apiVersion", "")).startswith(f"{names.GROUP}/"):
        return False
    return bool(job["metadata"]["name"] == name_of(owner["name"], owner["uid"]))


def is_worker_pod(pod: Obj) -> bool:
    """Return whether a pod was made by the worker's Job of the Backup that its labels name."""
    labels = pod["metadata"].get("labels") or {}
    backup, uid = labels.get(names.LABEL_BACKUP), labels.get(names.LABEL_BACKUP_UID)
    owner = _controller(pod, "Job")
    return bool(owner and backup and uid and owner["name"] == worker_name(backup, uid) and _is_named_by(pod, owner))


def is_pod_of(pod: Obj, job: Obj) -> bool:
    """Return whether a pod was made by exactly this Job."""
    owner = _controller(pod, "Job")
    return owner is not None and owner["uid"] == job["metadata"]["uid"] and _is_named_by(pod, owner)


def _controller(obj: Obj, kind: str) -> Obj | None:
    refs = obj["metadata"].get("ownerReferences") or ()
    return next((ref for ref in refs if ref.get("controller") and ref.get("kind") == kind), None)


def _is_named_by(pod: Obj, owner: Obj) -> bool:
    return str(pod["metadata"]["name"]).startswith(f"{owner['name']}-"[:_NAME_KEPT])
