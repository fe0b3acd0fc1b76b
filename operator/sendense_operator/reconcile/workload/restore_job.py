"""The Job that restores or verifies disks of a restore point, and who has a slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.object_names import restore_name, tls_secret_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_restore_job
from sendense_operator.reconcile.state.kubernetes_objects import is_live, owner_ref
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_job import POD_FAILURE_POLICY
from sendense_operator.reconcile.workload.worker_pod import build_restore_template
from sendense_operator.restore_task import RestoreTask


@dataclass(frozen=True)
class RestorePlan:
    """What a restore's Job is made of, beside its task."""

    repository_name: str
    repository: BackupRepositorySpec
    one_node: bool
    """Whether the pod has to be on the node of the repository's other pods."""
    resources: Obj
    retries: int
    deadline_seconds: int


def build_restore_job(restore: Obj, task: RestoreTask, plan: RestorePlan, settings: Settings) -> Obj:
    """Return the Job of a Restore. Its name is the lock that keeps a second one from being made."""
    meta = restore["metadata"]
    labels = {
        names.LABEL_COMPONENT: names.COMPONENT_RESTORE,
        names.LABEL_RESTORE: meta["name"],
        names.LABEL_REPOSITORY: plan.repository_name,
        names.LABEL_VM: task.vm,
        **({names.LABEL_EXPORT: "true"} if task.serve else {}),
    }
    template = build_restore_template(
        task,
        labels=labels,
        repository=plan.repository,
        one_node=plan.one_node,
        resources=plan.resources,
        tls_secret=tls_secret_name(meta["name"], meta["uid"]),
        settings=settings,
    )
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": restore_name(meta["name"], meta["uid"]),
            "labels": labels,
            "ownerReferences": [owner_ref(restore)],
        },
        "spec": {
            "backoffLimit": plan.retries,
            "activeDeadlineSeconds": plan.deadline_seconds,
            # The next attempt continues the images of the last one, which must be gone for good.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": POD_FAILURE_POLICY,
            "template": template,
        },
    }


async def live_restores(cluster: Cluster, namespace: str, repository: str) -> Sequence[str]:
    """Return the names of the live Jobs that take a slot for restores of a repository. Raises ClusterError."""
    slots = {names.LABEL_COMPONENT: names.COMPONENT_RESTORE, names.LABEL_REPOSITORY: repository}
    selector = ",".join([*(f"{key}={value}" for key, value in slots.items()), f"{names.LABEL_EXPORT}!=true"])

    def take(job: Obj) -> str | None:
        return str(job["metadata"]["name"]) if is_live(job) and is_restore_job(job) else None

    return await collect(cluster, JOB, namespace, take, labels=selector)
