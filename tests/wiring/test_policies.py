"""Policies: slots become Backups, once each, whatever happens to the controller in between."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, status_and_reason
from tests.support.sample import NAMESPACE
from tests.wiring.rig import Rig

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import InvalidError
from sendense_operator.reconcile.policies.policy_reconciler import PolicyReconciler

EACH_MINUTE = [{"name": "often", "cron": "* * * * *"}]
HOURLY = [{"name": "hourly", "cron": "0 * * * *"}]
GOLD = {"matchLabels": {"tier": "gold"}}


def rig_with(vms: int = 3, **settings: Any) -> Rig:
    """Return a world of labelled VMs, and no appliance that could back them up."""
    rig = Rig(**settings)
    for number in range(vms):
        add_vm(rig, f"vm{number}")
    return rig


def add_vm(rig: Rig, name: str, tier: str = "gold") -> None:
    obj = sample.protected_vm(name)
    obj["metadata"]["labels"] = {"tier": tier}
    rig.create(kinds.PROTECTED_VM, obj)


def add_policy(rig: Rig, name: str = "nightly", **spec: Any) -> None:
    spec = {"repositoryRef": {"name": "store"}, "vmSelector": GOLD, "schedules": EACH_MINUTE, **spec}
    rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", name, spec))


def backups(rig: Rig, **labels: str) -> list[Obj]:
    return [
        b for b in rig.world.cluster.peek(kinds.BACKUP) if labels.items() <= (b["metadata"].get("labels") or {}).items()
    ]


def vms_of(rig: Rig, **labels: str) -> list[str]:
    return sorted(b["spec"]["vmRef"]["name"] for b in backups(rig, **labels))


def policy(rig: Rig, name: str = "nightly") -> Obj:
    return rig.world.cluster.one(kinds.BACKUP_POLICY, name)


def reason(rig: Rig, name: str = "nightly") -> str:
    return status_and_reason(policy(rig, name), "Ready")[1]


def end_all(rig: Rig) -> None:
    """All Backups have failed."""
    for backup in backups(rig):
        status = {"phase": "Failed", "completionTime": rig.world.clock.stamp()}
        rig.world.cluster.put(kinds.BACKUP, {**backup, "status": status})


async def wait_slot(rig: Rig, count: int) -> None:
    await rig.run(lambda: len(backups(rig)) >= count, seconds=90)


async def test_a_slot_becomes_a_backup_of_each_vm() -> None:
    rig = rig_with()
    add_policy(rig, backup={"type": "Incremental", "onMissingParent": "Fail", "retries": 1})
    await wait_slot(rig, 3)
    assert vms_of(rig) == ["vm0", "vm1", "vm2"]
    for backup in backups(rig):
        spec = BackupSpec.model_validate(backup["spec"])
        assert (spec.type, spec.on_missing_parent, spec.retries) == ("Incremental", "Fail", 1)
        assert spec.policy_ref is not None
        assert spec.policy_ref.name == "nightly"
        assert backup["metadata"]["labels"][names.LABEL_SCHEDULE] == "often"
        assert "ownerReferences" not in backup["metadata"]
        assert backup["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
    status = policy(rig)["status"]
    assert (status["vms"], status["lastCreated"]) == (3, 3)
    assert reason(rig) == "RepositoryNotFound"
    (event,) = rig.events("BackupsCreated")
    assert "3 Backups" in event["message"]


@pytest.mark.parametrize("write", range(1, 8))
async def test_a_controller_that_is_killed_at_any_write_repeats_nothing(write: int) -> None:
    rig = rig_with()
    add_policy(rig, schedules=HOURLY, backup={"retries": 0})
    await rig.settle(seconds=5)
    rig.world.clock.seconds = 3600.0
    rig.world.cluster.kill_after = len(rig.world.cluster.written) + write
    await rig.settle(seconds=30)
    assert rig.restarts == 1
    assert vms_of(rig) == ["vm0", "vm1", "vm2"]


async def test_a_vm_that_comes_and_one_that_loses_its_label() -> None:
    rig = rig_with(2)
    add_policy(rig)
    await wait_slot(rig, 2)
    end_all(rig)
    add_vm(rig, "late")
    left = rig.world.cluster.one(kinds.PROTECTED_VM, "vm0")
    left["metadata"]["labels"] = {"tier": "none"}
    rig.world.cluster.put(kinds.PROTECTED_VM, left)
    await wait_slot(rig, 4)
    assert vms_of(rig) == ["late", "vm0", "vm1", "vm1"]


async def test_a_vm_whose_backup_has_not_ended_is_left_out() -> None:
    rig = rig_with(2)
    add_policy(rig)
    await wait_slot(rig, 2)
    (first, _) = backups(rig)
    rig.world.cluster.put(kinds.BACKUP, {**first, "status": {"phase": "Failed"}})
    await wait_slot(rig, 3)
    assert vms_of(rig).count(first["spec"]["vmRef"]["name"]) == 2
    assert policy(rig)["status"]["lastSkipped"] == 1
    assert rig.events("BackupsSkipped")


async def test_on_request() -> None:
    rig = rig_with(2)
    add_policy(rig, schedules=[], suspend=True)
    await rig.settle(seconds=10)
    assert backups(rig) == []
    for value in ("1", "1", "2"):
        obj = policy(rig)
        obj["metadata"]["annotations"] = {names.ANNOTATION_RUN: value}
        rig.world.cluster.put(kinds.BACKUP_POLICY, obj)
        await rig.settle(seconds=10)
        end_all(rig)
    assert vms_of(rig) == ["vm0", "vm0", "vm1", "vm1"]
    assert policy(rig)["status"]["lastRequest"] == "2"


async def test_a_slot_is_spread() -> None:
    rig = rig_with(10)
    add_policy(rig, schedules=HOURLY, jitterSeconds=600)
    await rig.settle(seconds=5)
    rig.world.clock.seconds = 3600.0
    await rig.settle(seconds=30)
    assert len(backups(rig)) == 1
    await rig.run(lambda: len(backups(rig)) >= 5, seconds=400)
    assert len(backups(rig)) == 5
    rig.restart()
    await rig.run(lambda: len(backups(rig)) >= 10, seconds=400)
    await rig.settle(seconds=30)
    assert policy(rig)["status"]["lastCreated"] == 10
    assert not policy(rig)["status"]["schedules"][0]["open"]


async def test_a_full_and_an_increment_of_the_same_minute_are_one_full() -> None:
    rig = rig_with(1)
    add_policy(rig, schedules=[*EACH_MINUTE, {"name": "also", "cron": "*/1 * * * *", "type": "Full"}])
    await wait_slot(rig, 1)
    await rig.settle(seconds=10)
    (backup,) = backups(rig)
    assert backup["spec"]["type"] == "Full"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"schedules": [{"name": "bad", "cron": "61 * * * *"}]}, "InvalidSchedule"),
        ({"schedules": [{"name": "bad", "cron": "0 1 * * *", "timeZone": "Mars/Phobos"}]}, "InvalidSchedule"),
        ({"vmRefs": [{"name": "nobody"}]}, "VMNotFound"),
        ({"vmSelector": {"matchLabels": {"tier": "lead"}}}, "NoVMs"),
        ({"suspend": True}, "Suspended"),
        ({"schedules": []}, "Scheduled"),
        ({}, "Scheduled"),
    ],
)
async def test_says_what_is_wrong(spec: dict[str, Any], expected: str) -> None:
    rig = rig_with(1)
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    add_policy(rig, **spec)
    await rig.settle(seconds=5)
    assert reason(rig) == expected


async def test_one_bad_schedule_does_not_keep_the_others() -> None:
    rig = rig_with(1)
    add_policy(rig, schedules=[{"name": "bad", "cron": "61 * * * *"}, *EACH_MINUTE])
    await wait_slot(rig, 1)
    assert reason(rig) == "InvalidSchedule"


async def test_the_older_of_two_policies_rules_until_it_is_deleted() -> None:
    rig = rig_with(2)
    add_policy(rig, "old")
    rig.world.clock.seconds += 5
    add_policy(rig, "young")
    await wait_slot(rig, 2)
    assert vms_of(rig, **{names.LABEL_POLICY: "young"}) == []
    assert reason(rig, "young") == "PolicyConflict"
    assert policy(rig, "young")["status"]["conflicting"] == 2
    end_all(rig)
    rig.world.cluster.remove(kinds.BACKUP_POLICY, policy(rig, "old"))
    await wait_slot(rig, 4)
    assert vms_of(rig, **{names.LABEL_POLICY: "young"}) == ["vm0", "vm1"]
    assert len(backups(rig, **{names.LABEL_POLICY: "old"})) == 2, "deleting a policy deletes no Backup"


async def test_what_the_api_server_rejects_is_tried_again() -> None:
    rig = rig_with(1)
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository())
    rig.world.cluster.failing = lambda verb, kind: (
        InvalidError("a quota") if (verb, kind) == ("create", kinds.BACKUP) else None
    )
    add_policy(rig)
    await rig.run(lambda: reason(rig) == "BackupRejected", seconds=90)
    rig.world.cluster.failing = lambda verb, kind: None
    await wait_slot(rig, 1)
    assert vms_of(rig) == ["vm0"]


async def test_a_request_that_the_api_server_rejects_is_kept() -> None:
    rig = rig_with(1)
    add_policy(rig, schedules=[])
    rig.world.cluster.failing = lambda verb, kind: (
        InvalidError("a quota") if (verb, kind) == ("create", kinds.BACKUP) else None
    )
    obj = policy(rig)
    obj["metadata"]["annotations"] = {names.ANNOTATION_RUN: "1"}
    rig.world.cluster.put(kinds.BACKUP_POLICY, obj)
    await rig.settle(seconds=5)
    rig.world.cluster.failing = lambda verb, kind: None
    await wait_slot(rig, 1)
    assert vms_of(rig) == ["vm0"]


async def test_a_check_without_a_slot_lists_nothing() -> None:
    rig = rig_with(5)
    add_policy(rig, schedules=HOURLY)
    await rig.settle(seconds=5)
    calls = rig.record_calls()
    reconcile = PolicyReconciler(rig.controller.ctx, rig.controller.protection)
    assert await reconcile(NAMESPACE, "nightly") == pytest.approx(3600 - rig.world.clock.seconds, abs=2)
    assert calls == [("get", "BackupPolicy"), ("get", "BackupRepository")]
