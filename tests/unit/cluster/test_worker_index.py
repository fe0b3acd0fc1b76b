from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster import apiserver

from sendense_operator.cluster.object_names import worker_name
from sendense_operator.cluster.worker_index import Worker, WorkerIndex

RUNNING = Worker(
    namespace="shop",
    pod_name=f"{worker_name('b', apiserver.BACKUP_UID)}-u1",
    uid="u1",
    job_uid="j",
    backup="b",
    appliance="vma",
    vm_key="k",
    ip="10.0.0.1",
    created="2025-10-05T12:00:00Z",
    running=True,
    ended=False,
    terminating=False,
    genuine=True,
)
STARTING = replace(RUNNING, uid="u2", ip="", running=False, created="2025-10-05T13:00:00Z")
TERMINATING = replace(RUNNING, uid="u3", terminating=True, created="2025-10-05T12:30:00Z")
ENDED = replace(RUNNING, uid="u4", running=False, ended=True, created="2025-10-05T14:00:00Z")
NEWER = replace(RUNNING, uid="u5", created="2025-10-05T12:45:00Z")


def index(*workers: Worker) -> WorkerIndex:
    built = WorkerIndex()
    for worker in workers:
        built.put(worker)
    return built


@pytest.mark.parametrize(
    ("workers", "uid"),
    [
        ([], None),
        ([RUNNING], "u1"),
        ([ENDED], None),
        ([STARTING], "u2"),
        ([RUNNING, STARTING, ENDED], "u1"),
        ([RUNNING, TERMINATING], "u1"),
        ([TERMINATING], "u3"),
        ([TERMINATING, STARTING], "u3"),
        ([RUNNING, NEWER], "u5"),
        ([replace(RUNNING, namespace="other")], None),
        ([replace(RUNNING, appliance="other")], None),
        ([replace(RUNNING, vm_key="other")], None),
    ],
)
def test_find_by_vm(workers: list[Worker], uid: str | None) -> None:
    for order in (workers, workers[::-1]):
        found = index(*order).find_by_vm("shop", "vma", "k")
        assert (found.uid if found else None) == uid


@pytest.mark.parametrize("worker", [RUNNING, STARTING, TERMINATING, ENDED])
def test_find_by_pod_uid_whatever_its_state(worker: Worker) -> None:
    assert index(worker).find_by_pod_uid("shop", "vma", worker.uid) == worker


@pytest.mark.parametrize("key", [("other", "vma", "u1"), ("shop", "other", "u1"), ("shop", "vma", "u9")])
def test_find_by_pod_uid_only_for_its_appliance(key: tuple[str, str, str]) -> None:
    assert index(RUNNING).find_by_pod_uid(*key) is None


def test_changes_are_reported() -> None:
    built = index(RUNNING)
    assert not built.put(RUNNING)
    assert built.put(replace(RUNNING, ip="10.0.0.2"))
    assert built.remove("u1")
    assert not built.remove("u1")


def test_fresh_list_replaces_its_namespace_only() -> None:
    built = index(RUNNING, replace(RUNNING, uid="x", namespace="lab"))
    built.replace([NEWER], "shop")
    assert built.find_by_pod_uid("shop", "vma", "u1") is None
    assert built.find_by_pod_uid("lab", "vma", "x") is not None
    built.replace([], None)
    assert len(built) == 0


def pod(**status: Any) -> dict[str, Any]:
    made = apiserver.pod("u1", **status)
    made["metadata"]["creationTimestamp"] = RUNNING.created
    made["metadata"]["ownerReferences"].insert(0, {"kind": "Other", "uid": "o"})
    return made


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Running", "podIP": "10.0.0.1"}, RUNNING),
        ({"phase": "Pending"}, replace(RUNNING, ip="", running=False)),
        ({"phase": "Pending", "podIP": "10.0.0.1"}, replace(RUNNING, running=False)),
        ({"phase": "Succeeded", "podIP": "10.0.0.1"}, replace(RUNNING, running=False, ended=True)),
        ({"phase": "Failed"}, replace(RUNNING, ip="", running=False, ended=True)),
    ],
)
def test_from_pod(status: dict[str, Any], expected: Worker) -> None:
    assert Worker.from_pod(pod(**status)) == expected


@pytest.mark.parametrize("missing", ["ownerReferences", "labels"])
def test_a_pod_that_somebody_else_made(missing: str) -> None:
    """With all the labels of a worker, but made by no Job of ours; or by it, without a Backup's label."""
    forged = pod(phase="Running", podIP="10.0.0.9")
    del forged["metadata"][missing]
    worker = Worker.from_pod(forged)
    assert not worker.genuine
    built = index(RUNNING)
    assert not built.put(replace(worker, uid="u9"))
    assert built.find_owner("u9", "k", "shop") is None
    assert built.put(worker), "the pod under this UID is no worker (any more)"
    assert len(built) == 0
    built.replace([worker, NEWER], None)
    assert built.find_by_vm("shop", "vma", "k") == NEWER


@pytest.mark.parametrize(("namespace", "uid"), [("shop", "u1"), ("lab", "u6"), ("elsewhere", "u6")])
def test_the_owner_of_a_call_is_first_sought_in_the_namespace_of_its_path(namespace: str, uid: str) -> None:
    """Of several workers with a VM of that name; elsewhere the newest."""
    others = replace(RUNNING, uid="u6", namespace="lab", created="2025-10-05T15:00:00Z")
    owner = index(RUNNING, others).find_owner("", "k", namespace)
    assert owner is not None
    assert owner.uid == uid


def test_from_a_bare_terminating_pod() -> None:
    worker = Worker.from_pod(
        {"metadata": {"namespace": "n", "name": "p", "uid": "u", "deletionTimestamp": "2025-10-05T12:00:00Z"}}
    )
    assert worker.terminating
    assert (worker.ip, worker.backup, worker.job_uid) == ("", "", "")


@pytest.mark.parametrize(
    ("phase", "state", "running", "ended"),
    [
        ("Pending", {"running": {}}, True, False),
        ("Running", {"running": {}}, True, False),
        ("Running", {"waiting": {}}, False, False),
        ("Running", {"terminated": {"exitCode": 0}}, False, True),
        ("Failed", {"terminated": {"exitCode": 1}}, False, True),
    ],
)
def test_only_the_container_worker_counts(phase: str, state: dict[str, object], running: bool, ended: bool) -> None:
    other = {"name": "proxy", "state": {"terminated": {"exitCode": 1}} if not ended else {"running": {}}}
    status = {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [other, {"name": "worker", "state": state}]}
    worker = Worker.from_pod({"metadata": {"namespace": "shop", "name": "p", "uid": "u"}, "status": status})
    assert (worker.running, worker.ended) == (running, ended)
