"""The Job that restores or verifies disks of a restore point, and who has a slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.object_names import restore_name, sender_name, tls_secret_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_restore_job
from sendense_operator.reconcile.state.kubernetes_objects import is_live, owner_ref
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_job import POD_FAILURE_POLICY
from sendense_operator.reconcile.workload.worker_pod import build_restore_template
from sendense_operator.restore_task import RestoreTask

_SENDER_RETRIES: Final = 100
"""How often a sender's pod is replaced: spec.retries counts those that write."""
_SENDER_END_S: Final = 600
"""By how much a sender outlives the deadline of the pod that writes."""


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
    labels = _labels(restore, task, plan)
    make = _receiver_template if task.sender else _template
    template = make(restore, task, plan, labels, settings)
    return _job(restore, restore_name(meta["name"], meta["uid"]), labels, template, plan.retries, plan.deadline_seconds)


def build_sender_job(restore: Obj, task: RestoreTask, plan: RestorePlan, settings: Settings) -> Obj:
    """Return the Job that serves the disks of a Restore to the pod that writes them. It ends only when it is deleted.

    It takes no slot, since the other one has it, and outlives the other's attempts.
    """
    meta = restore["metadata"]
    labels = _labels(restore, task, plan)
    template = _template(restore, task, plan, labels, settings)
    name = sender_name(meta["name"], meta["uid"])
    return _job(restore, name, labels, template, _SENDER_RETRIES, plan.deadline_seconds + _SENDER_END_S)


def _labels(restore: Obj, task: RestoreTask, plan: RestorePlan) -> dict[str, str]:
    return {
        names.LABEL_COMPONENT: names.COMPONENT_RESTORE,
        names.LABEL_RESTORE: restore["metadata"]["name"],
        names.LABEL_REPOSITORY: plan.repository_name,
        names.LABEL_VM: task.vm,
        **({names.LABEL_EXPORT: "true"} if task.serve else {}),
    }


def _receiver_template(
    restore: Obj, task: RestoreTask, plan: RestorePlan, labels: dict[str, str], settings: Settings
) -> Obj:
    """Return the template of a pod that has nothing to do with the repository's volume and its nodes.

    With the repository's label, it would draw the repository's other pods to its node.
    """
    own = {key: value for key, value in labels.items() if key != names.LABEL_REPOSITORY}
    repository = plan.repository.model_copy()
    if repository.pod_template is not None:
        repository.pod_template = repository.pod_template.model_copy()
        repository.pod_template.node_selector, repository.pod_template.affinity = {}, None
    elsewhere = replace(plan, repository=repository, one_node=False)
    return _template(restore, task, elsewhere, own, settings)


def _template(restore: Obj, task: RestoreTask, plan: RestorePlan, labels: dict[str, str], settings: Settings) -> Obj:
    meta = restore["metadata"]
    return build_restore_template(
        task,
        labels=labels,
        repository=plan.repository,
        one_node=plan.one_node,
        resources=plan.resources,
        tls_secret=tls_secret_name(meta["name"], meta["uid"]),
        settings=settings,
    )


def _job(restore: Obj, name: str, labels: dict[str, str], template: Obj, retries: int, deadline_seconds: int) -> Obj:
    return {
        "metadata": {
            "namespace": restore["metadata"]["namespace"],
            "name": name,
            "labels": labels,
            "ownerReferences": [owner_ref(restore)],
        },
        "spec": {
            "backoffLimit": retries,
            "activeDeadlineSeconds": deadline_seconds,
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
