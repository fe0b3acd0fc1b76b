"""The Job that verifies restore points of a chain."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.object_names import verification_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_verification_job
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import is_live, owner_ref
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_pod import build_verification_template
from sendense_operator.task import VerificationTask

DEADLINE_S: Final = 86_400
"""How long a pod may run: at its end it says how far it came, and the next one goes on there."""


def build_verification_job(
    chain: Obj,
    key: ChainKey,
    task: VerificationTask,
    *,
    repository: BackupRepositorySpec,
    one_node: bool,
    resources: Obj,
    settings: Settings,
) -> Obj:
    """Return the Job of a chain's verification. Its name is the lock that keeps a second one from being made."""
    labels = {
        names.LABEL_COMPONENT: names.COMPONENT_VERIFICATION,
        names.LABEL_REPOSITORY: key.repository,
        names.LABEL_VM: key.vm,
    }
    meta = chain["metadata"]
    template = build_verification_template(
        task, labels=labels, repository=repository, one_node=one_node, resources=resources, settings=settings
    )
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": verification_name(meta["name"], meta["uid"]),
            "labels": labels,
            "ownerReferences": [owner_ref(chain)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_S,
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }


async def live_verifications(cluster: Cluster, namespace: str, repository: str) -> int:
    """Return how many chains of a repository are being verified. Raises ClusterError."""
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_VERIFICATION},{names.LABEL_REPOSITORY}={repository}"

    def take(job: Obj) -> bool | None:
        return True if is_live(job) and is_verification_job(job) else None

    return len(await collect(cluster, JOB, namespace, take, labels=selector))
