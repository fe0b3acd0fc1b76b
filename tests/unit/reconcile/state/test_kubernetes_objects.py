"""Reading Kubernetes' own objects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import at, condition, ended, job, pod, ready_status

from sendense_operator.reconcile.state import kubernetes_objects


@pytest.mark.parametrize(
    ("conditions", "live", "succeeded"),
    [
        ([], True, None),
        ([condition("FailureTarget", "BackoffLimitExceeded")], True, None),
        ([condition("SuccessCriteriaMet")], True, None),
        ([condition("Failed", status="False")], True, None),
        ([condition("Complete")], False, True),
        ([condition("FailureTarget"), condition("Failed", "PodFailurePolicy", "exit code 42")], False, False),
    ],
)
def test_job_end(conditions: list[Obj], live: bool, succeeded: bool | None) -> None:
    end = kubernetes_objects.job_end(job("j1", *conditions))
    assert kubernetes_objects.is_live(job("j1", *conditions)) is live
    assert (end.succeeded if end else None) is succeeded


def test_a_job_that_nobody_has_looked_at_is_live() -> None:
    fresh = job()
    del fresh["status"]
    assert kubernetes_objects.is_live(fresh)


def test_host_ports() -> None:
    found = job()
    found["spec"]["template"]["spec"]["containers"] = [
        {"name": "worker", "ports": [{"containerPort": 8080}, {"containerPort": 10809, "hostPort": 10100}]},
        {"name": "other", "ports": [{"containerPort": 1, "hostPort": 10101}]},
    ]
    assert kubernetes_objects.host_ports(found) == {10100, 10101}
    assert kubernetes_objects.host_ports(job()) == set()


def test_newest_pod() -> None:
    assert kubernetes_objects.newest([]) is None
    found = kubernetes_objects.newest([pod("a", age=1), pod("b", age=3), pod("c", age=2)])
    assert found is not None
    assert found["metadata"]["name"] == "b"
    of_one_second = kubernetes_objects.newest([pod("a", "Running"), pod("z", "Failed")])
    assert of_one_second is not None
    assert of_one_second["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({}, None),
        ({"conditions": [condition("PodScheduled")]}, None),
        (
            {"conditions": [condition("PodScheduled", "Unschedulable", "no node fits", status="False")]},
            ("Unschedulable", "no node fits"),
        ),
        ({"conditions": [condition("PodScheduled", status="False")]}, ("Unschedulable", "")),
        ({"containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        ({"containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "PodInitializing"}}}]}, None),
        (
            {
                "containerStatuses": [
                    {"name": "worker", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
                ]
            },
            ("ErrImagePull", "not found"),
        ),
        (
            {"containerStatuses": [{"name": "proxy", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
            None,
        ),
        (
            {
                "containerStatuses": [
                    {"name": "proxy", "state": {"waiting": {"reason": "ErrImagePull"}}},
                    {"name": "worker", "state": {"running": {}}},
                ],
                "initContainerStatuses": [{"name": "init", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            },
            None,
        ),
        (
            {
                "initContainerStatuses": [
                    {"name": "init", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
                ]
            },
            ("ErrImagePull", "container init: not found"),
        ),
    ],
)
def test_pod_trouble(status: Obj, trouble: tuple[str, str] | None) -> None:
    assert kubernetes_objects.pod_trouble(pod(phase="Pending", **status)) == trouble


def test_a_pod_that_runs_has_no_trouble() -> None:
    unready = condition("PodScheduled", "Unschedulable", status="False")
    assert kubernetes_objects.pod_trouble(pod(conditions=[unready])) is None


@pytest.mark.parametrize("message", ["", "garbage", "{}", '{"outcome": "Maybe"}', "z:garbage"])
def test_what_is_no_answer(message: str) -> None:
    assert kubernetes_objects.answer_of(pod(phase="Failed", containerStatuses=ended(message))) is None


def test_an_answer() -> None:
    answer = sample.completed_answer(disks=30)
    assert kubernetes_objects.answer_of(pod(phase="Succeeded", containerStatuses=ended(answer.to_message()))) == answer
    assert kubernetes_objects.answer_of(pod()) is None


def test_pod_ip_is_of_use_only_while_it_runs() -> None:
    assert kubernetes_objects.pod_ip(pod()) == "10.0.0.1"
    assert kubernetes_objects.pod_ip(pod(phase="Succeeded", podIP="10.0.0.1")) is None
    assert kubernetes_objects.pod_ip({"metadata": {}}) is None


def test_the_worker_decides_whether_its_address_is_of_use() -> None:
    """Another container may keep the pod pending, or running."""
    works = [{"name": "proxy", "state": {"waiting": {}}}, {"name": "worker", "state": {"running": {}}}]
    assert kubernetes_objects.pod_ip(pod(phase="Pending", podIP="10.0.0.1", containerStatuses=works)) == "10.0.0.1"
    assert kubernetes_objects.pod_ip(pod(containerStatuses=ended())) is None


def test_an_init_container_that_kept_the_worker_from_its_start_is_named() -> None:
    failed = [{"name": "init", "state": {"terminated": {"exitCode": 3}}}]
    words = kubernetes_objects.death_of(pod(phase="Failed", initContainerStatuses=failed))
    assert words == "container init ended with exit code 3 before the worker could start"


@pytest.mark.parametrize(
    ("node", "since"),
    [
        (None, datetime(1970, 1, 1, tzinfo=UTC)),
        ({}, None),
        ({"status": {"conditions": [condition("Ready")]}}, None),
        ({"status": {"conditions": [condition("Ready", seconds=7, status="False")]}}, at(7)),
        ({"status": {"conditions": [condition("Ready", seconds=7, status="Unknown")]}}, at(7)),
    ],
)
def test_not_ready_since(node: Obj | None, since: datetime | None) -> None:
    assert kubernetes_objects.not_ready_since(node) == since


@pytest.mark.parametrize(
    ("generation", "observed", "found"), [(1, 1, True), (2, 1, False), (1, None, True), (None, 1, True), (1, 2, True)]
)
def test_a_condition_of_an_older_spec_says_nothing(generation: int | None, observed: int | None, found: bool) -> None:
    obj = sample.repository("store", ready_status())
    obj["metadata"]["generation"] = generation
    obj["status"]["conditions"][0]["observedGeneration"] = observed
    assert (kubernetes_objects.ready_condition(obj) is not None) is found


def test_queue_order() -> None:
    backups = [sample.backup("b", age=5), sample.backup("c", age=1), sample.backup("a", age=5)]
    assert [obj["metadata"]["name"] for obj in kubernetes_objects.queue_order(backups)] == ["c", "a", "b"]


def test_ownership_goes_by_uid() -> None:
    owner, other = sample.backup("b1"), sample.backup("b1")
    other["metadata"]["uid"] = "another"
    owned = {"metadata": {"ownerReferences": [kubernetes_objects.owner_ref(owner)]}}
    assert kubernetes_objects.is_owned_by(owned, owner)
    assert not kubernetes_objects.is_owned_by(owned, other)
    assert not kubernetes_objects.is_owned_by({"metadata": {}}, owner)
    assert owned["metadata"]["ownerReferences"][0]["controller"] is True


def test_an_object_without_a_creation_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="creationTimestamp"):
        kubernetes_objects.created({"metadata": {}})
