"""Restores whose claims are on different nodes."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_exports import network
from tests.wiring.test_restores import add_claim, create, is_over, message, phase, protected, ready, restore

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.reconcile.workload.restore_job import live_restores


def node(rig: Rig, name: str) -> None:
    labels = {"kubernetes.io/hostname": name}
    metadata = {"name": name, "uid": sample.uid_of("Node", name), "labels": labels}
    rig.world.cluster.put(kinds.NODE, {"metadata": metadata, "status": {}})


def volume(rig: Rig, name: str, node: str) -> None:
    term: Obj = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    rig.world.cluster.put(kinds.VOLUME, {"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}})


async def placed(repository: str, target: str) -> Rig:
    """Return a rig whose repository and whose claim `far` have volumes of these nodes."""
    rig = await protected(("ReadWriteMany",))
    for name in ("n1", "n2"):
        node(rig, name)
    volume(rig, "pv-1", repository)
    volume(rig, "pv-2", target)
    add_claim(rig, "far", volumeName="pv-2")
    return rig


def sender(rig: Rig) -> str:
    return str(restore(rig)["status"].get("senderJob", ""))


def left(rig: Rig) -> list[str]:
    """Return what is there that only a running Restore needs."""
    senders = [
        job["metadata"]["name"] for job in rig.world.cluster.all(kinds.JOB) if "-sender-" in job["metadata"]["name"]
    ]
    pods = [
        pod["metadata"]["name"] for pod in rig.world.cluster.all(kinds.POD) if "-sender-" in pod["metadata"]["name"]
    ]
    return [*senders, *pods, *(name for _, name in network(rig))]


def made(rig: Rig) -> list[str]:
    """Return the kinds of Jobs that were ever made for Restores."""
    found = [name for kind, name in rig.world.cluster.made if kind == "Job"]
    return [part for name in found for part in ("sender", "restore") if f"-{part}-" in name]


@pytest.mark.parametrize("writes", [None, *range(1, 26)])
async def test_two_pods_where_no_node_can_mount_both(writes: int | None) -> None:
    """One sender, one writer, one key, one result, however often the controller begins anew."""
    rig = await placed("n1", "n2")
    rig.world.cluster.kill_after = writes
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: ready(rig)[1] == "SenderStarting" or made(rig))
    await is_over(rig)
    assert (phase(rig), ready(rig)) == ("Completed", ("True", "Restored"))
    assert rig.world.restores.images == {"far": "b2"}
    assert made(rig) == ["sender", "restore"], "the one that writes comes when the other one serves"
    serving, writing = rig.world.restores.tasks
    assert (serving.serve, serving.serve_tls, serving.serve_digests, serving.sender) == (True, True, True, "")
    assert [disk.claim for disk in serving.disks] == [""]
    assert (writing.serve, writing.sender.endswith(".shop.svc")) == (False, True)
    assert restore(rig)["status"]["attempts"] == 1
    assert left(rig) == []


async def test_who_sees_what() -> None:
    rig = await placed("n1", "n2")
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    pods = {
        part: pod
        for part in ("sender", "restore")
        for pod in rig.world.cluster.all(kinds.POD)
        if f"-{part}-" in pod["metadata"]["name"]
    }
    claims = {
        part: [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
        for part, pod in pods.items()
    }
    assert claims == {"sender": ["store-claim"], "restore": ["far"]}
    (policy,) = [p for p in rig.world.cluster.all(kinds.NETWORK_POLICY) if "-restore-" in p["metadata"]["name"]]
    exports, _ = policy["spec"]["ingress"]
    assert [port["port"] for port in exports["ports"]] == [10809, 10809 + 64]
    (peer,) = exports["from"]
    labels = {part: pod["metadata"]["labels"] for part, pod in pods.items()}
    assert peer["podSelector"]["matchLabels"].items() <= labels["restore"].items()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels["sender"].items()
    assert not policy["spec"]["podSelector"]["matchLabels"].items() <= labels["restore"].items()
    assert names.LABEL_REPOSITORY in labels["sender"]
    assert names.LABEL_REPOSITORY not in labels["restore"], "it must not draw the repository's pods to its node"
    assert await live_restores(rig.world.cluster, "shop", "store") == [restore(rig)["status"]["workerJob"]]


async def test_a_sender_that_is_lost_is_replaced() -> None:
    rig = await placed("n1", "n2")
    rig.world.restores.endings = {"r1-sender": [Ending.EVICTED], "r1": [Ending.FAIL]}
    create(rig, backup="b2", claim="far")
    await is_over(rig)
    assert phase(rig) == "Completed"
    assert restore(rig)["status"]["attempts"] == 2
    assert sum(task.serve for task in rig.world.restores.tasks) == 2
    assert left(rig) == []


async def test_a_sender_that_can_not_serve_ends_it() -> None:
    rig = await placed("n1", "n2")
    rig.world.restores.endings = {"r1-sender": [Ending.FATAL], "r1": [Ending.HANG]}
    create(rig, backup="b2", claim="far")
    await is_over(rig)
    assert phase(rig) == "Failed"
    assert message(rig).startswith("the sender: ")
    assert rig.world.restores.partials == {}, "the one that wrote was requested to stop"
    assert left(rig) == []


async def test_a_sender_that_somebody_deletes() -> None:
    rig = await placed("n1", "n2")
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: ready(rig)[1] == "Restoring")
    rig.world.cluster.remove(kinds.JOB, rig.world.cluster.one(kinds.JOB, sender(rig)))
    await is_over(rig)
    assert (phase(rig), ready(rig)[1]) == ("Failed", "SenderLost")
    assert (rig.world.restores.partials, left(rig)) == ({}, [])


@pytest.mark.parametrize("when", ["SenderStarting", "Restoring"])
async def test_cancelled(when: str) -> None:
    rig = await placed("n1", "n2")
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: ready(rig)[1] == when)
    rig.edit(kinds.RESTORE, "r1", cancel=True)
    await is_over(rig)
    assert (phase(rig), rig.world.restores.partials, left(rig)) == ("Cancelled", {}, [])


@pytest.mark.parametrize("when", ["SenderStarting", "Restoring"])
async def test_deleted(when: str) -> None:
    rig = await placed("n1", "n2")
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: ready(rig)[1] == when)
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.run(lambda: not rig.world.cluster.all(kinds.RESTORE))
    await rig.settle(seconds=30)
    assert (rig.world.restores.partials, left(rig)) == ({}, [])


async def test_one_node_is_enough() -> None:
    rig = await placed("n1", "n1")
    create(rig, backup="b2", claim="far")
    await is_over(rig)
    assert phase(rig) == "Completed"
    assert made(rig) == ["restore"]


@pytest.mark.parametrize("kind", [kinds.VOLUME, kinds.NODE])
async def test_without_the_rights_the_scheduler_decides(kind: kinds.Kind) -> None:
    rig = await placed("n1", "n2")
    rig.world.cluster.failing = lambda verb, what: ForbiddenError("no") if what == kind else None
    create(rig, backup="b2", claim="far")
    await rig.run(lambda: made(rig))
    assert made(rig) == ["restore"]
