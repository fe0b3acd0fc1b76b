"""What the reconcile promises besides the end: few writes, no secrets, one writer, words that are passed on."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from tests.support import sample
from tests.support.objects import status_and_reason
from tests.wiring.rig import SECRET_WORD, Rig
from tests.wiring.world import Ending

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.reconcile.backups.backup_reconciler import reconcile_backup
from sendense_operator.reconcile.state.appliance_limiter import AT_A_TIME
from sendense_operator.reconcile.state.kubernetes_objects import host_ports
from sendense_operator.reconcile.workload.worker_pod import task_of
from sendense_operator.vma.errors import VMAError, VMAGarbage, VMARefused


async def test_writes_of_progress_keep_their_distance() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(lambda: rig.phase() == "Completed")
    copying = [s["at"] for s in rig.world.cluster.history if s["conditions"][0]["reason"] == "Copying"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(copying)]
    assert gaps
    assert min(gaps) >= rig.settings.poll_seconds


async def test_what_does_not_change_is_not_written() -> None:
    rig = Rig()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "VMNotFound")
    before = len(rig.world.cluster.written)
    await rig.settle(seconds=300)
    assert len(rig.world.cluster.written) == before


async def test_no_secret_is_in_any_object_but_its_own() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(lambda: rig.phase() == "Completed")
    others = [obj for obj in rig.world.cluster.objects.values() if obj["kind"] != "Secret"]
    assert {"Job", "Event", "Pod", "NetworkPolicy"} & {obj["kind"] for obj in others}
    assert SECRET_WORD not in json.dumps(others)


async def test_no_second_worker_while_the_first_ones_pod_is_there() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    rig.world.endings["b1"] = [Ending.HANG]
    rig.world.stuck = True
    rig.world.cluster.begin_deletion(kinds.JOB, rig.world.worker_jobs()[0])
    await rig.settle(seconds=60)
    assert rig.world.worker_jobs() == []
    assert rig.reason() == "Retrying"
    rig.world.stuck = False
    rig.world.endings["b1"] = []
    await rig.run(lambda: rig.phase() == "Completed")
    assert rig.world.most == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Cannot complete login due to an incorrect user name or password", "VCenterRefused"),
        ("Failed to discover VMs: ServerFaultCode: Login failure", "VCenterRefused"),
    ],
)
async def test_the_words_of_vcenter_fail_it_at_once(words: str, reason: str) -> None:
    rig = Rig()
    rig.vma.vcenter_error = VMARefused("discover", 500, words)
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.phase() == "Failed", seconds=30)
    assert rig.reason() == reason
    assert words in rig.backup()["status"]["message"]
    assert rig.world.jobs() == []


@pytest.mark.parametrize(
    "words", ["dial tcp 10.0.0.1:443: connect: connection refused", "read: connection reset by peer"]
)
async def test_a_vcenter_that_is_away_is_waited_for(words: str) -> None:
    rig = Rig()
    rig.vma.vcenter_error = VMARefused("discover", 500, words)
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "VCenterUnreachable", seconds=30)
    await rig.settle(seconds=1800)
    assert rig.phase() == "Pending"
    assert words in rig.backup()["status"]["message"]
    rig.vma.vcenter_error = None
    await rig.run(lambda: rig.phase() == "Completed", seconds=120)


async def test_a_vcenter_that_stays_away_fails_it_at_the_deadline_of_its_start() -> None:
    rig = Rig()
    rig.vma.vcenter_error = VMARefused("discover", 500, "dial tcp 10.0.0.1:443: connect: connection refused")
    rig.create_references()
    rig.create_backup(startDeadlineSeconds=60)
    await rig.run(lambda: rig.phase() == "Failed", seconds=90)
    assert rig.reason() == "StartDeadlineExceeded"
    assert "VCenterUnreachable" in rig.backup()["status"]["message"]


async def test_a_vm_that_vcenter_does_not_know_fails_it_at_once() -> None:
    rig = Rig()
    rig.vma.vms = ["web"]
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.phase() == "Failed", seconds=30)
    assert rig.reason() == "VMNotFound"


@pytest.mark.parametrize(
    "error",
    [
        VMAGarbage("discover: vms: a list is missing"),
        VMAError("odd"),
        VMARefused("discover", 500, "Internal server error"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_requested_again(error: VMAError) -> None:
    rig = Rig()
    rig.vma.vcenter_error = error
    rig.create_references()
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "ApplianceError", seconds=30)
    rig.vma.vcenter_error = None
    await rig.run(lambda: rig.phase() == "Completed", seconds=120)


@pytest.mark.parametrize(
    ("exposure", "ports"),
    [
        ("PodIP", (10809, 10810, 10811)),
        ("NodePort", (30000, 30001, 30002)),
        ("HostPort", (10100, 10101, 10102)),
    ],
)
async def test_each_disk_receives_its_port(exposure: str, ports: tuple[int, ...]) -> None:
    rig = Rig()
    rig.vma.disks = 3
    rig.create_references()
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": exposure, "portRange": {"first": 10100, "last": 10109}})
    rig.create_backup()
    await rig.run(rig.world.worker_jobs)
    task = task_of(rig.world.worker_jobs()[0])
    assert task is not None
    assert tuple(disk.port for disk in task.disks) == ports
    assert len(rig.world.cluster.all(kinds.SERVICE)) == (exposure == "NodePort")


@pytest.mark.parametrize(("ceiling", "starts"), [("8Gi", True), ("1100Mi", False)])
async def test_a_vm_of_many_disks_gets_the_memory_it_needs_or_fails_at_once(ceiling: str, starts: bool) -> None:
    rig = Rig(worker_resources={"limits": {"memory": "1Gi"}}, worker_max_memory=ceiling)
    rig.vma.disks = 40
    rig.create_references()
    rig.create_backup(type="Auto")
    await rig.run(lambda: rig.world.worker_jobs() or rig.phase() == "Failed")
    if starts:
        (container,) = rig.world.worker_jobs()[0]["spec"]["template"]["spec"]["containers"]
        assert 1100 < int(container["resources"]["limits"]["memory"].removesuffix("Mi")) < 3000
        return
    assert (rig.phase(), rig.reason(), rig.world.worker_jobs()) == ("Failed", "MemoryExceeded", [])
    assert "40 disks" in rig.backup()["status"]["conditions"][0]["message"]


async def test_a_backup_of_a_name_that_was_there_before_is_another_one() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())
    rig.world.cluster.remove(kinds.BACKUP, rig.backup())
    again = sample.backup()
    again["metadata"]["uid"] = sample.uid_of("another")
    rig.create(kinds.BACKUP, again)
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())
    assert len(set(rig.world.jobs())) == 2
    assert len(rig.world.started) == 2


@pytest.mark.parametrize(("mode", "bound"), [("ReadWriteOnce", True), ("ReadWriteMany", False)])
async def test_all_pods_of_a_volume_that_one_node_can_have_go_there(mode: str, bound: bool) -> None:
    rig = Rig()
    rig.create_references()
    rig.create(kinds.CLAIM, sample.claim(modes=(mode,)))
    rig.create_backup()
    pods: dict[str, bool] = {}

    def look() -> bool:
        for pod in rig.world.cluster.all(kinds.POD):
            pods[pod["metadata"]["labels"][names.LABEL_COMPONENT]] = "affinity" in pod["spec"]
        return len(pods) == 2

    await rig.run(look)
    assert pods == {"probe": bound, "worker": bound}


async def test_a_network_policy_of_an_earlier_try_is_made_anew_where_it_does_not_fit() -> None:
    rig = Rig()
    rig.create_references()
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": "PodIP", "allowedFrom": ["10.0.0.0/8"]})
    await rig.settle(seconds=10)
    refused = ForbiddenError("exceeded quota: jobs")
    rig.world.cluster.failing = lambda verb, kind: refused if (verb, kind) == ("create", kinds.JOB) else None
    rig.create_backup()
    await rig.run(lambda: rig.reason() == "PodForbidden")
    (before,) = rig.world.cluster.all(kinds.NETWORK_POLICY)
    await rig.settle(seconds=40)
    (same,) = rig.world.cluster.all(kinds.NETWORK_POLICY)
    assert same["metadata"]["uid"] == before["metadata"]["uid"], "one that fits stays"
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": "PodIP", "allowedFrom": ["192.168.7.0/24"]})
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.run(rig.world.worker_jobs)
    (policy,) = rig.world.cluster.all(kinds.NETWORK_POLICY)
    exports, _ = policy["spec"]["ingress"]
    assert exports["from"][0] == {"ipBlock": {"cidr": "192.168.7.0/24"}}
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())


async def test_the_status_of_a_chain_follows_its_backups() -> None:
    rig = Rig()
    await rig.run_until_it_copies()
    await rig.run(lambda: rig.phase() == "Completed")
    rig.create_backup("b2")
    await rig.run(lambda: rig.phase("b2") == "Completed" and rig.is_clean())
    await rig.settle(seconds=5)
    (chain,) = rig.world.cluster.all(kinds.BACKUP_CHAIN)
    assert [point["backup"] for point in chain["status"]["restorePoints"]] == ["b1", "b2"]
    for name in ("b1", "b2"):
        rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup(name))
    await rig.settle(seconds=5)
    (chain,) = rig.world.cluster.all(kinds.BACKUP_CHAIN)
    assert chain["status"]["points"] == 0
    assert status_and_reason(chain, "Ready")[1] == "NoRestorePoints"


async def test_looked_at_all_at_once_no_slot_and_no_port_is_given_twice() -> None:
    rig = Rig()
    rig.create_references(maxConcurrentBackups=3)
    nbd = {"exposure": "HostPort", "portRange": {"first": 10100, "last": 10199}}
    rig.edit(kinds.APPLIANCE, "vma", nbd=nbd)
    await rig.settle(seconds=10)
    for number in range(12):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(f"vm{number}"))
    await rig.settle(seconds=2)
    for number in range(12):
        rig.create_backup(f"b{number:02}", vm=f"vm{number}")
    for _ in range(12 // AT_A_TIME):  # so many are asked for at a time
        looks = (reconcile_backup(rig.controller.ctx, sample.NAMESPACE, f"b{number:02}") for number in range(12))
        await asyncio.gather(*looks)
    jobs = rig.world.worker_jobs()
    assert len(jobs) == 3
    ports = [port for job in jobs for port in host_ports(job)]
    assert len(ports) == len(set(ports)) == 3
    assert sorted(rig.reasons().values()) == ["Starting"] * 3 + ["WaitingForSlot"] * 9


async def test_what_remains_after_the_end() -> None:
    """How long it took and how fast it was; how the attempt before ended; how many points the repository holds."""
    rig = Rig()
    rig.world.endings["b1"] = [Ending.FAIL, Ending.COMPLETE]
    rig.create_references()
    rig.create_backup("b1", retries=1)
    await rig.run(lambda: rig.is_over("b1") and rig.is_clean())
    status = rig.backup("b1")["status"]
    assert status["durationSeconds"] > 0
    assert status["duration"]
    assert status["progress"]["rateBytesPerSecond"] > 0
    assert status["attempts"] == 2
    assert ": " in status["lastFailure"]
    store = kinds.BACKUP_REPOSITORY
    await rig.run(lambda: rig.world.cluster.one(store, "store")["status"].get("points") == 1, seconds=10)
    rig.create_backup("b2", type="Incremental")
    await rig.run(lambda: rig.world.cluster.one(store, "store")["status"].get("points") == 2, seconds=120)
    rig.delete("b2")
    await rig.run(lambda: rig.world.cluster.one(store, "store")["status"].get("points") == 1, seconds=10)
