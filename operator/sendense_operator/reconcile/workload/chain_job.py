"""The Jobs that work on all of a chain: one verifies its restore points, one merges its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.cluster.api_client import Cluster
from sendense_operator.cluster.kinds import JOB
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.object_names import consolidation_name, verification_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.provenance import is_consolidation_job, is_verification_job
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import is_live, owner_ref
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.worker_pod import build_chain_template
from sendense_operator.task import VerificationTask

DEADLINE_S: Final = 86_400
"""How long a pod may run: at its end it says how far it came, and the next one goes on there."""


@dataclass(frozen=True)
class ChainJobKind:
    """What such Jobs are called, and how one of ours is known."""

    component: str
    words: str
    """What it is, in messages."""
    name_of: Callable[[str, str], str]
    """From the chain's name and UID: the name is the lock that keeps a second one from being made."""
    is_ours: Callable[[Obj], bool]


VERIFICATION: Final = ChainJobKind(names.COMPONENT_VERIFICATION, "verification", verification_name, is_verification_job)
CONSOLIDATION: Final = ChainJobKind(
    names.COMPONENT_CONSOLIDATION, "consolidation", consolidation_name, is_consolidation_job
)
KINDS: Final = (VERIFICATION, CONSOLIDATION)


def build_chain_job(
    kind: ChainJobKind,
    chain: Obj,
    key: ChainKey,
    task: VerificationTask | ConsolidationTask,
    *,
    repository: BackupRepositorySpec,
    one_node: bool,
    resources: Obj,
    settings: Settings,
    annotations: Mapping[str, str],
) -> Obj:
    """Return the Job of a chain. `one_node`, `resources`: as for a worker; `annotations`: of the Job itself."""
    labels = {
        names.LABEL_COMPONENT: kind.component,
        names.LABEL_REPOSITORY: key.repository,
        names.LABEL_VM: key.vm,
    }
    meta = chain["metadata"]
    template = build_chain_template(
        task, labels=labels, repository=repository, one_node=one_node, resources=resources, settings=settings
    )
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": kind.name_of(meta["name"], meta["uid"]),
            "labels": labels,
            "annotations": dict(annotations),
            "ownerReferences": [owner_ref(chain)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_S,
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }


async def live_jobs(cluster: Cluster, kind: ChainJobKind, place: ObjectKey) -> int:
    """Return how many such Jobs the BackupRepository `place` has that run. Raises ClusterError."""
    selector = f"{names.LABEL_COMPONENT}={kind.component},{names.LABEL_REPOSITORY}={place.name}"

    def take(job: Obj) -> bool | None:
        return True if is_live(job) and kind.is_ours(job) else None

    return len(await collect(cluster, JOB, place.namespace, take, labels=selector))


async def has_live_jobs(cluster: Cluster, place: ObjectKey) -> bool:
    """Return whether any chain of the BackupRepository `place` is being verified or merged. Raises ClusterError."""
    for kind in KINDS:
        if await live_jobs(cluster, kind, place):
            return True
    return False
