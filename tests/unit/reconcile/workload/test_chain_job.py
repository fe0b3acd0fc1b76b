"""The Jobs that work on a chain: a name that is a lock, and the same pod as for all workers."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.consolidation_task import ConsolidationTask
from sendense_operator.reconcile.consolidation.consolidation_start import largest_load
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.workload.chain_job import CONSOLIDATION, KINDS, ChainJobKind, build_chain_job
from sendense_operator.reconcile.workload.worker_pod import consolidation_task_of

CHAIN = {**sample.custom("BackupChain", "db-store-1", {}), "apiVersion": f"{names.GROUP}/v1alpha1"}
TASK = ConsolidationTask(namespace="shop", vm="db", chain="db-store-1", repository_id="repo-1", everything=True)


def build(kind: ChainJobKind = CONSOLIDATION, *, one_node: bool = False) -> Obj:
    return build_chain_job(
        kind,
        CHAIN,
        ChainKey("db", "store"),
        TASK,
        repository=BackupRepositorySpec.model_validate(sample.repository()["spec"]),
        one_node=one_node,
        resources={"limits": {"memory": "300Mi"}},
        settings=Settings(worker_image="registry.example/sendense:1"),
        annotations={names.ANNOTATION_CONSOLIDATE: "now"},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_is_a_lock_of_the_chain(kind: ChainJobKind) -> None:
    job = build(kind)
    assert kind.is_ours(job)
    assert [other.is_ours(job) for other in KINDS if other is not kind] == [False]
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_the_pod_is_restricted_and_gets_the_task() -> None:
    job = build()
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"] == {"limits": {"memory": "300Mi"}}
    assert consolidation_task_of(job) == TASK
    assert job["metadata"]["annotations"] == {names.ANNOTATION_CONSOLIDATE: "now"}


def test_on_one_node_with_the_others_of_its_repository() -> None:
    spec = build(one_node=True)["spec"]["template"]["spec"]
    (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == {names.LABEL_REPOSITORY: "store"}


def test_a_merge_opens_the_deepest_stack_and_the_layer_that_it_writes() -> None:
    disks = [{"virtualSize": 5, "depth": 2}, {"virtualSize": 7}]
    load = largest_load(
        [sample.backup("b1", {"disks": disks}), sample.backup("b2", {"disks": [{"virtualSize": 1, "depth": 9}]})]
    )
    assert (load.virtual_size, load.layers) == (7, 10)
    assert largest_load([]).layers == 2
