"""Cancelled, deleted, late, and namespaces that go: it always ends, and nothing is left."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.sample import NAMESPACE
from tests.wiring.rig import Rig
from tests.wiring.world import LEFT, Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError, UnavailableError
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting


async def running(rig: Rig, **spec: Any) -> Rig:
    rig.create_references()
    rig.create_backup(**spec)
    rig.world.endings["b1"] = [Ending.HANG]
    await rig.run(lambda: rig.reason() == "Copying")
    return rig


def nothing_is_left(rig: Rig) -> bool:
    left = [obj for obj in rig.world.cluster.objects.values() if names.LABEL_BACKUP in _labels(obj)]
    return not left


def _labels(obj: dict[str, object]) -> dict[str, str]:
    meta = obj["metadata"]
    assert isinstance(meta, dict)
    return dict(meta.get("labels") or {})


async def test_cancelled_before_it_runs() -> None:
    rig = Rig()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "VMNotFound")
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled", seconds=5)
    await rig.settle()
    assert rig.world.jobs() == []


async def test_cancelled_while_it_runs() -> None:
    rig = await running(Rig())
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled" and rig.is_clean(), seconds=20)
    assert "Cancelling" in rig.reported()
    await rig.settle()
    assert nothing_is_left(rig)
    assert rig.phase() == "Cancelled"


async def test_a_cancelled_increment_is_given_its_time_and_says_what_is_left() -> None:
    """Longer than any grace period of a pod; the worker's Job is left alone meanwhile."""
    rig = Rig()
    rig.world.cancel_takes = 400
    await running(rig)
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.reason() == "Cancelling", seconds=5)
    await rig.settle(seconds=390)
    assert rig.reason() == "Cancelling"
    assert not is_deleting(rig.world.worker_jobs()[0])
    await rig.run(lambda: rig.phase() == "Cancelled" and rig.is_clean(), seconds=60)
    assert LEFT in rig.backup()["status"]["message"]
    assert len(rig.world.jobs()) == 1
    assert rig.backup()["status"]["attempts"] == 1


async def test_a_worker_that_does_not_end_as_requested_is_stopped() -> None:
    rig = Rig()
    rig.world.cancel_takes = 10_000
    await running(rig)
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled" and rig.is_clean(), seconds=720)


async def test_a_worker_that_hears_nothing_is_stopped_soon() -> None:
    rig = await running(Rig())
    rig.world.mute = True
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled" and rig.is_clean(), seconds=30)


async def test_cancelled_when_it_is_done_already() -> None:
    rig = Rig()
    rig.create_references()
    rig.create_backup()
    await rig.run(rig.world.repository.points)
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.is_over("b1") and rig.is_clean())
    assert rig.phase() == "Completed"


async def test_cancelled_on_a_node_that_is_lost() -> None:
    rig = await running(Rig())
    rig.world.lose_node()
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.phase() == "Cancelled", seconds=90)
    assert "did not stop in time" in rig.backup()["status"]["message"]


async def test_cancelled_where_nothing_tells_the_worker_to_stop() -> None:
    """Its Job was deleted with --cascade=orphan."""
    rig = await running(Rig())
    (job,) = rig.world.worker_jobs()
    (pod,) = [pod for pod in rig.world.cluster.all(kinds.POD) if names.LABEL_BACKUP_UID in _labels(pod)]
    rig.world.cluster.put(kinds.POD, {**pod, "metadata": {**pod["metadata"], "ownerReferences": [{"uid": "none"}]}})
    rig.world.cluster.remove(kinds.JOB, job)
    rig.edit(kinds.BACKUP, "b1", cancel=True)
    await rig.run(lambda: rig.reason() == "Cancelling", seconds=5)
    await rig.run(lambda: rig.phase() == "Cancelled", seconds=60)
    assert "did not stop in time" in rig.backup()["status"]["message"]


async def given_up(rig: Rig) -> Rig:
    """Failed, while its worker is on a node that is lost."""
    await running(rig)
    rig.world.lose_node()
    await rig.run(lambda: rig.phase() == "Failed")
    return rig


async def test_the_exports_stay_closed_to_others_until_the_worker_is_gone() -> None:
    rig = await given_up(Rig(node_lost_seconds=60))
    rig.world.later[int(rig.world.clock.seconds) + 20] = rig.world.find_node

    def is_clean() -> bool:
        pods = [pod for pod in rig.world.cluster.all(kinds.POD) if names.LABEL_BACKUP_UID in _labels(pod)]
        assert rig.world.cluster.all(kinds.NETWORK_POLICY) or not pods
        return rig.is_clean()

    await rig.run(is_clean, seconds=40)
    assert rig.controller.errors == []


async def test_the_network_policy_of_a_worker_that_does_not_go_stays_with_it() -> None:
    rig = await given_up(Rig(node_lost_seconds=60))
    await rig.run(lambda: names.FINALIZER not in rig.backup()["metadata"]["finalizers"], seconds=70)
    await rig.settle()
    assert rig.world.cluster.all(kinds.NETWORK_POLICY)
    rig.delete("b1")
    await rig.run(lambda: not rig.world.cluster.all(kinds.BACKUP), seconds=20)
    assert not rig.world.cluster.all(kinds.NETWORK_POLICY)


@pytest.mark.parametrize("when", ["VMNotFound", "Starting", "Copying", "Committed"])
async def test_deleted(when: str) -> None:
    rig = Rig()
    if when != "VMNotFound":
        rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == when)
    rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup())
    await rig.run(lambda: not rig.world.cluster.all(kinds.BACKUP), seconds=20)
    await rig.settle(seconds=10)
    assert nothing_is_left(rig)
    assert rig.controller.errors == []


async def test_deleted_though_its_node_is_lost() -> None:
    rig = await running(Rig())
    rig.world.lose_node()
    rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup())
    await rig.run(lambda: not rig.world.cluster.all(kinds.BACKUP), seconds=90)


async def test_deleted_though_nothing_it_refers_to_is_there() -> None:
    rig = await running(Rig())
    for kind in (kinds.PROTECTED_VM, kinds.BACKUP_REPOSITORY, kinds.APPLIANCE, kinds.SECRET, kinds.CLAIM):
        for obj in rig.world.cluster.all(kind):
            rig.world.cluster.remove(kind, obj)
    rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup())
    await rig.run(lambda: not rig.world.cluster.all(kinds.BACKUP), seconds=20)


async def test_a_namespace_that_goes() -> None:
    rig = await running(Rig())
    rig.create_backup("b2")
    rig.world.cluster.terminating.add(NAMESPACE)
    for (kind, namespace, _), obj in list(rig.world.cluster.objects.items()):
        present = (kind, namespace, obj["metadata"]["name"]) in rig.world.cluster.objects
        if namespace == NAMESPACE and present:
            rig.world.cluster.begin_deletion(kinds.Kind(obj["apiVersion"], kind, ""), obj)
    await rig.run(lambda: not [place for place in rig.world.cluster.objects if place[1] == NAMESPACE], seconds=60)


async def test_a_namespace_that_goes_is_named() -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=10)
    rig.world.cluster.terminating.add(NAMESPACE)
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "NamespaceTerminating", seconds=20)


@pytest.mark.parametrize("kind", [kinds.POD, kinds.JOB])
async def test_a_pod_that_is_forbidden_is_a_wait(kind: kinds.Kind) -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=10)
    refused = ForbiddenError('violates PodSecurity "restricted:latest": hostPort')
    rig.world.cluster.failing = lambda verb, called: refused if (verb, called) == ("create", kind) else None
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "PodForbidden", seconds=20)
    assert "hostPort" in rig.backup()["status"]["message"]
    rig.world.cluster.failing = lambda verb, called: None
    await rig.run(lambda: rig.phase() == "Completed")


async def test_the_start_has_a_deadline_whatever_it_waits_for() -> None:
    rig = Rig()
    rig.create_backup(startDeadlineSeconds=60)
    await rig.run(lambda: rig.phase() == "Failed", seconds=70)
    assert rig.reason() == "StartDeadlineExceeded"
    assert "VMNotFound" in rig.backup()["status"]["message"]


async def test_a_pod_that_no_node_takes_has_a_deadline() -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=10)
    rig.world.unschedulable = True
    rig.create_backup(startDeadlineSeconds=60)
    await rig.run(lambda: rig.reason() == "Unschedulable", seconds=20)
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean(), seconds=80)
    assert rig.reason() == "StartDeadlineExceeded"
    await rig.settle(seconds=10)
    assert nothing_is_left(rig)


async def test_a_pod_whose_volume_is_not_mounted_has_a_deadline() -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=10)
    rig.world.unmounted = True
    rig.create_backup(startDeadlineSeconds=60)
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean(), seconds=80)
    assert rig.reason() == "StartDeadlineExceeded"


async def test_a_name_that_is_taken_has_a_deadline() -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=10)
    rig.create_backup(startDeadlineSeconds=60)
    await rig.run(rig.world.jobs)
    (job,) = rig.world.worker_jobs()
    job["metadata"]["ownerReferences"] = []
    rig.world.cluster.put(kinds.JOB, job)
    await rig.run(lambda: rig.phase() == "Failed", seconds=100)
    assert rig.reason() == "StartDeadlineExceeded"


async def test_a_run_has_a_deadline() -> None:
    rig = await running(Rig(), activeDeadlineSeconds=60)
    await rig.run(lambda: rig.phase() == "Failed" and rig.is_clean(), seconds=100)
    assert rig.reason() == "ActiveDeadlineExceeded"


async def test_a_run_whose_pod_does_not_go_has_a_deadline_too() -> None:
    rig = await running(Rig(), activeDeadlineSeconds=60)
    rig.world.stuck = True
    await rig.run(lambda: rig.phase() == "Failed", seconds=300)
    assert rig.reason() == "ActiveDeadlineExceeded"


async def test_an_api_server_that_is_away() -> None:
    rig = await running(Rig())
    away = UnavailableError("API server: ClientConnectorError")
    rig.world.cluster.failing = lambda verb, called: away
    rig.world.endings["b1"] = []
    await rig.settle(seconds=600)
    assert rig.phase() == "Running"
    rig.world.cluster.failing = lambda verb, called: None
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean(), seconds=100)
    assert len(rig.world.started) == 1
