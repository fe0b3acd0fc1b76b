"""The Jobs of workers and probes."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import probe_name, worker_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref
from sendense_operator.reconcile.workload.worker_pod import CONTAINER
from sendense_operator.task import ExitCode

POD_FAILURE_POLICY: Final[Obj] = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(ExitCode.FATAL)]},
        },
        # Evicted, preempted, drained: no fault of the attempt, so it is not counted.
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]
}
"""Which ends of a pod are final, and which do not count."""
TTL_SECONDS = 600
"""A worker's Job stays that long after its result is recorded, so that its log can be read."""


def worker_labels(
    backup: Obj, *, vm: str, repository: str, appliance: str, vm_key: str, vm_identity: str
) -> dict[str, str]:
    """Return the labels of a worker's Job and pods: the gateway and the admission find them by these."""
    return {
        names.LABEL_COMPONENT: names.COMPONENT_WORKER,
        names.LABEL_BACKUP: backup["metadata"]["name"],
        names.LABEL_BACKUP_UID: backup["metadata"]["uid"],
        names.LABEL_VM: vm,
        names.LABEL_REPOSITORY: repository,
        names.LABEL_APPLIANCE: appliance,
        names.LABEL_VM_KEY: vm_key,
        names.LABEL_VM_IDENTITY: vm_identity,
    }


def build_worker_job(backup: Obj, template: Obj, labels: dict[str, str], *, retries: int, deadline_seconds: int) -> Obj:
    """Return the Job of a Backup. Its name is the lock that keeps a second one from being made."""
    meta = backup["metadata"]
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": worker_name(meta["name"], meta["uid"]),
            "labels": labels,
            "ownerReferences": [owner_ref(backup)],
        },
        "spec": {
            "backoffLimit": retries,
            "activeDeadlineSeconds": deadline_seconds,
            # The next attempt only starts when the last one is gone for good: one writer per chain.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": POD_FAILURE_POLICY,
            "template": template,
        },
    }


def probe_labels(repository: Obj) -> dict[str, str]:
    """Return the labels of a probe's Job and pod."""
    return {
        names.LABEL_COMPONENT: names.COMPONENT_PROBE,
        names.LABEL_REPOSITORY: repository["metadata"]["name"],
    }


def build_probe_job(repository: Obj, template: Obj, labels: dict[str, str], *, deadline_seconds: int) -> Obj:
    """Return the Job that looks at a repository."""
    meta = repository["metadata"]
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": probe_name(meta["name"], meta["uid"]),
            "labels": labels,
            "ownerReferences": [owner_ref(repository)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline_seconds,
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }
