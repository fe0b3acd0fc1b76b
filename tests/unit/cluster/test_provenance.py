"""Whose Jobs and pods are believed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import consolidation_name, verification_name, worker_name
from sendense_operator.cluster.provenance import (
    is_consolidation_job,
    is_pod_of,
    is_verification_job,
    is_worker_job,
    is_worker_pod,
)
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref

BACKUP = {**sample.backup("b1"), "apiVersion": f"{names.GROUP}/v1alpha1", "kind": "Backup"}
UID = BACKUP["metadata"]["uid"]
JOB = worker_name("b1", UID)


def owned(obj: Obj, owner: Obj, **changes: Any) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [{**owner_ref(owner), **changes}]}}


def worker_job(name: str = JOB) -> Obj:
    return {**sample.job(name), "apiVersion": "batch/v1", "kind": "Job"}


@pytest.mark.parametrize(
    ("job", "believed"),
    [
        (owned(worker_job(), BACKUP), True),
        (worker_job(), False),
        (owned(worker_job("another"), BACKUP), False),
        (owned(worker_job(), BACKUP, kind="ConfigMap"), False),
        (owned(worker_job(), BACKUP, apiVersion="example.com/v1"), False),
        (owned(worker_job(), BACKUP, controller=False), False),
        (owned(worker_job(), BACKUP, uid="another"), False),
    ],
)
def test_a_worker_s_job(job: Obj, believed: bool) -> None:
    assert is_worker_job(job) is believed


CHAIN_OBJ = {**sample.custom("BackupChain", "db-store", {}), "apiVersion": f"{names.GROUP}/v1alpha1"}
PROOF = verification_name("db-store", CHAIN_OBJ["metadata"]["uid"])
MERGE = consolidation_name("db-store", CHAIN_OBJ["metadata"]["uid"])


@pytest.mark.parametrize(
    ("job", "believed"),
    [
        (owned(worker_job(PROOF), CHAIN_OBJ), True),
        (worker_job(PROOF), False),
        (owned(worker_job("another"), CHAIN_OBJ), False),
        (owned(worker_job(PROOF), CHAIN_OBJ, controller=False), False),
        (owned(worker_job(), BACKUP), False),
    ],
)
def test_a_verification_s_job(job: Obj, believed: bool) -> None:
    assert is_verification_job(job) is believed


@pytest.mark.parametrize(
    ("job", "believed"),
    [
        (owned(worker_job(MERGE), CHAIN_OBJ), True),
        (worker_job(MERGE), False),
        (owned(worker_job(PROOF), CHAIN_OBJ), False),
        (owned(worker_job(MERGE), CHAIN_OBJ, controller=False), False),
    ],
)
def test_a_consolidation_s_job(job: Obj, believed: bool) -> None:
    assert is_consolidation_job(job) is believed


def pod(name: str = f"{JOB}-x7k2p", *, backup: str = "b1", uid: str = UID) -> Obj:
    obj = sample.pod(name)
    labels = {names.LABEL_BACKUP: backup, names.LABEL_BACKUP_UID: uid}
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


@pytest.mark.parametrize(
    ("found", "believed"),
    [
        (owned(pod(), worker_job()), True),
        (pod(), False),
        (owned(pod(), worker_job("another")), False),
        (owned(pod("forged"), worker_job()), False),
        (owned(pod(uid="another"), worker_job()), False),
        (owned(pod(), worker_job(), kind="ReplicaSet"), False),
    ],
)
def test_a_worker_s_pod(found: Obj, believed: bool) -> None:
    assert is_worker_pod(found) is believed


def test_the_pod_of_a_job_with_a_long_name() -> None:
    """The API server cuts a generated name."""
    job = worker_job("j" * 63)
    assert is_pod_of(owned(pod("j" * 58 + "x7k2p"), job), job)
    assert not is_pod_of(owned(pod("j" * 58 + "x7k2p"), job, uid="another"), job)
    assert not is_pod_of(owned(pod("forged"), job), job)
