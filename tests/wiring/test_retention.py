"""Retention: expired restore points go as if a user had deleted their Backups, and only those."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, status_and_reason
from tests.support.sample import NAMESPACE
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run

from sendense_operator.api.v1alpha1.backuppolicy import Retention
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.reconcile.state.keys import ChainKey, Key

CHAIN = tuple((f"b{number}", "Incremental" if number > 1 else "Full") for number in range(1, 6))
REPOSITORY = {"name": "store"}


def add_policy(rig: Rig, name: str = "nightly", **spec: Any) -> None:
    fields = {"repositoryRef": REPOSITORY, "vmRefs": [{"name": "db"}], "retention": {"keepLast": 2}, **spec}
    rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", name, fields))


async def protected() -> Rig:
    """Return a chain of five restore points that a policy created; the policy itself is not there yet."""
    rig = Rig()
    rig.create_references()
    for name, kind in CHAIN:
        await run(rig, name, kind, policyRef={"name": "nightly"})
    return rig


def points(rig: Rig) -> list[str]:
    return [point["backup"] for point in rig.chain()["status"]["restorePoints"]]


def condition(obj: Obj) -> tuple[str, str]:
    return status_and_reason(obj, "Retention")


def policy_condition(rig: Rig) -> tuple[str, str]:
    return condition(rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly"))


def rejects_deletions(rig: Rig) -> None:
    denied = ForbiddenError("admission webhook keep.example denied the request")
    rig.world.cluster.failing = lambda verb, kind: denied if (verb, kind) == ("delete", kinds.BACKUP) else None


async def test_what_no_rule_keeps_is_deleted() -> None:
    rig = await protected()
    add_policy(rig)
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=30)
    await rig.settle(seconds=30)
    # The layers of the others stay as long as these depend on them.
    assert sorted(rig.world.repository.waiting()) == ["b1", "b2", "b3"]
    rig.world.repository.check()
    status = rig.chain()["status"]
    assert [point["keptBy"] for point in status["restorePoints"]] == [["Last"], ["Last"]]
    assert (status["policy"], status["expired"]) == ("nightly", 0)
    assert condition(rig.chain()) == policy_condition(rig) == ("True", "Applied")
    summary = rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly")["status"]["retention"]
    assert summary == {"restorePoints": 2, "expired": 0}
    (event,) = rig.events("RestorePointExpired")
    assert "b1, b2, b3" in event["message"]
    assert rig.controller.errors == []


async def test_each_new_restore_point_lets_one_expire() -> None:
    rig = await protected()
    add_policy(rig)
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=30)
    await run(rig, "b6", policyRef={"name": "nightly"})
    await rig.run(lambda: points(rig) == ["b5", "b6"], seconds=30)


@pytest.mark.parametrize("write", range(1, 14))
async def test_a_controller_that_is_killed_at_any_write(write: int) -> None:
    rig = await protected()
    add_policy(rig)
    rig.world.cluster.kill_after = len(rig.world.cluster.written) + write
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=60)
    await rig.settle(seconds=60)
    assert rig.restarts == 1
    assert points(rig) == rig.world.repository.names() == ["b4", "b5"]
    rig.world.repository.check()


async def test_a_dry_run_equals_what_then_happens() -> None:
    rig = await protected()
    add_policy(rig, retention={"keepLast": 2, "dryRun": True})
    await rig.settle(seconds=30)
    listed = rig.chain()["status"]["restorePoints"]
    announced = [point["backup"] for point in listed if point.get("heldBy") == "DryRun"]
    since = {point["expiredSince"] for point in listed if "expiredSince" in point}
    assert rig.world.repository.names() == ["b1", "b2", "b3", "b4", "b5"]
    assert condition(rig.chain()) == policy_condition(rig) == ("False", "DryRun")
    await rig.settle(seconds=30)
    assert {point.get("expiredSince") for point in rig.chain()["status"]["restorePoints"][:3]} == since
    rig.edit(kinds.BACKUP_POLICY, "nightly", retention={"keepLast": 2})
    await rig.run(lambda: points(rig) == [name for name, _ in CHAIN if name not in announced], seconds=30)


async def test_without_its_policy_nothing_expires() -> None:
    """Neither when it is deleted, nor when the VM is not its any more."""
    rig = await protected()
    add_policy(rig, retention={"keepLast": 2, "dryRun": True})
    await rig.run(lambda: rig.chain()["status"].get("policy") == "nightly", seconds=30)
    rig.edit(kinds.BACKUP_POLICY, "nightly", retention={"keepLast": 2}, vmRefs=[{"name": "other"}])
    await rig.run(lambda: "policy" not in rig.chain()["status"], seconds=30)
    rig.edit(kinds.BACKUP_POLICY, "nightly", retention={"keepLast": 2, "dryRun": True}, vmRefs=[{"name": "db"}])
    await rig.run(lambda: rig.chain()["status"].get("policy") == "nightly", seconds=30)
    rig.world.cluster.remove(kinds.BACKUP_POLICY, rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly"))
    await rig.run(lambda: "policy" not in rig.chain()["status"], seconds=30)
    assert len(points(rig)) == 5
    assert [c["type"] for c in rig.chain()["status"]["conditions"]] == ["Ready"]


async def test_the_older_policy_rules() -> None:
    rig = await protected()
    add_policy(rig, retention={"keepLast": 4})
    rig.world.step()
    add_policy(rig, "greedy", retention={"keepLast": 1, "includeManual": True})
    await rig.run(lambda: len(points(rig)) == 4, seconds=30)
    await rig.settle(seconds=60)
    assert len(points(rig)) == 4


async def test_rules_that_were_just_relaxed_are_not_applied_any_more() -> None:
    """The watch may report a change late: what it reported before deletes nothing."""
    rig = await protected()
    add_policy(rig, retention={"keepLast": 5})
    await rig.settle(seconds=30)
    index = rig.controller.protection.policies
    known = index.named(NAMESPACE, "nightly")
    assert known is not None
    index.put(replace(known, generation=known.generation - 1, retention=Retention(keep_last=1)))
    rig.controller.ctx.again(Key.of_chain(NAMESPACE, ChainKey("db", "store")))
    await rig.controller.work()
    assert (rig.chain()["status"]["expired"], len(points(rig))) == (4, 5)


async def test_after_a_restart_nothing_is_decided_before_policies_are_known() -> None:
    rig = await protected()
    add_policy(rig, retention={"keepLast": 2, "dryRun": True})
    await rig.run(lambda: rig.chain()["status"].get("policy") == "nightly", seconds=30)
    before = rig.chain()["status"]
    rig.restart()
    index = rig.controller.protection
    known = index.policies.of(NAMESPACE)
    index.policies.replace([], None)
    index.synced = lambda: False
    await rig.controller.work()
    assert rig.chain()["status"] == before
    index.policies.replace(known, None)
    index.synced = lambda: True
    await rig.settle(seconds=10)
    assert rig.chain()["status"] == before


async def test_files_that_would_stay_are_not_hidden() -> None:
    rig = await protected()
    rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionPolicy="Retain")
    add_policy(rig)
    await rig.settle(seconds=30)
    assert condition(rig.chain()) == policy_condition(rig) == ("False", "FilesRetained")
    assert len(points(rig)) == 5
    rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionPolicy="Delete")
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=700)


async def test_a_rejected_deletion_is_reported_and_repeated() -> None:
    rig = await protected()
    rejects_deletions(rig)
    add_policy(rig)
    await rig.settle(seconds=30)
    assert condition(rig.chain()) == policy_condition(rig) == ("False", "DeletionRejected")
    rig.world.cluster.failing = lambda verb, kind: None
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=90)
    await rig.settle(seconds=10)
    assert policy_condition(rig) == ("True", "Applied")


async def test_within_the_grace_an_expired_point_can_be_taken_back() -> None:
    rig = await protected()
    rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionGraceSeconds=3600)
    add_policy(rig)
    await rig.run(lambda: points(rig) == ["b4", "b5"], seconds=30)
    await rig.settle(seconds=60)
    waiting = {point["backup"]: point for point in rig.chain()["status"]["removed"]}
    assert sorted(waiting) == ["b1", "b2", "b3"]
    assert all(point["keptUntil"] for point in waiting.values())


def failed(rig: Rig, name: str, policy: str | None = "nightly") -> None:
    spec: dict[str, Any] = {"policyRef": {"name": policy}} if policy else {}
    backup = sample.backup(name, **spec)
    status = {"phase": "Failed", "completionTime": rig.world.clock.stamp(), "observedGeneration": 1}
    rig.create(kinds.BACKUP, {**backup, "status": status})
    rig.world.step()


async def test_old_failures_are_deleted() -> None:
    rig = Rig()
    rig.create_references()
    add_policy(rig, failedHistoryLimit=2, retention={"keepLast": 1})
    for name in ("f1", "f2", "f3", "f4"):
        failed(rig, name)
    for name in ("hand", "hand2", "hand3"):
        failed(rig, name, None)
    await rig.settle(seconds=30)
    assert sorted(rig.phases()) == ["f3", "f4", "hand", "hand2", "hand3"]


async def test_failures_stay_while_the_policy_is_suspended() -> None:
    rig = Rig()
    rig.create_references()
    add_policy(rig, failedHistoryLimit=0, suspend=True)
    failed(rig, "f1")
    await rig.settle(seconds=30)
    assert sorted(rig.phases()) == ["f1"]
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=False)
    await rig.run(lambda: not rig.phases(), seconds=30)
