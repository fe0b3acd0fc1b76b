"""How recent the newest restore point of each VM is, as ProtectedVMs and policies say it while time passes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, status_and_reason
from tests.support.sample import NAMESPACE
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run

from sendense_operator.cluster import kinds
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.policies.policy_reconciler import PolicyReconciler
from sendense_operator.reconcile.state.keys import Key, Work

HOUR = 3600
DAILY = [{"name": "daily", "cron": "30 1 * * *"}]


def add_policy(rig: Rig, name: str = "nightly", *, hours: float | None = 1, **spec: Any) -> None:
    fields = {"repositoryRef": {"name": "store"}, "vmRefs": [{"name": "db"}], **spec}
    if hours is not None:
        fields["objective"] = {"maxAgeSeconds": int(hours * HOUR)}
    rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", name, fields))


def rig_with(*, hours: float | None = 1, **spec: Any) -> Rig:
    rig = Rig()
    rig.create_references()
    add_policy(rig, hours=hours, **spec)
    return rig


def vm_status(rig: Rig) -> Obj:
    status: Obj = rig.world.cluster.one(kinds.PROTECTED_VM, "db").get("status", {})
    return status


def protected(rig: Rig) -> tuple[str, str]:
    return status_and_reason(rig.world.cluster.one(kinds.PROTECTED_VM, "db"), "Protected")


def objective(rig: Rig) -> tuple[str, str]:
    return status_and_reason(rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly"), "Objective")


def policy_status(rig: Rig, name: str = "nightly") -> Obj:
    status: Obj = rig.world.cluster.one(kinds.BACKUP_POLICY, name)["status"]
    return status


def within(rig: Rig) -> str:
    return str(policy_status(rig)["objective"]["summary"])


def damage(rig: Rig, name: str) -> None:
    backup = rig.backup(name)
    found = sample.condition("Damaged", "Unreadable", seconds=rig.world.clock.seconds)
    backup["status"]["conditions"].append(found)
    rig.world.cluster.put(kinds.BACKUP, backup)


def vanish(rig: Rig) -> None:
    vm = rig.world.cluster.one(kinds.PROTECTED_VM, "db")
    vm["status"]["vanishedTime"] = rig.world.clock.stamp()
    rig.world.cluster.put(kinds.PROTECTED_VM, vm)


async def pass_time(rig: Rig, seconds: float) -> None:
    """Without anything that happens in between."""
    rig.world.clock.seconds += seconds
    await rig.settle(seconds=10)


async def test_from_never_to_protected_to_too_old() -> None:
    rig = rig_with()
    await rig.settle(seconds=30)
    assert protected(rig) == ("False", "NeverBackedUp")
    assert objective(rig) == ("False", "ObjectiveMissed")
    assert policy_status(rig)["objective"]["worst"] == [{"vm": "db", "reason": "NeverBackedUp"}]
    (never,) = rig.events("NeverBackedUp")
    assert never["type"] == "Warning"
    await run(rig, "b1")
    await rig.settle(seconds=10)
    assert protected(rig) == ("True", "WithinObjective")
    assert (within(rig), objective(rig)) == ("1/1", ("True", "WithinObjective"))
    assert vm_status(rig)["latestBackup"] == "b1"
    assert vm_status(rig)["latestTime"] == rig.backup("b1")["status"]["startTime"]
    assert [event["type"] for event in rig.events("WithinObjective")] == ["Normal"]
    await pass_time(rig, HOUR)
    assert protected(rig) == ("False", "TooOld")
    assert (within(rig), policy_status(rig)["objective"]["worst"][0]["backup"]) == ("0/1", "b1")
    (too_old,) = rig.events("TooOld")
    assert "b1" in too_old["message"]
    assert rig.controller.errors == []


async def test_it_is_noticed_in_the_second_in_which_it_becomes_too_old() -> None:
    rig = rig_with(hours=0.05)
    await run(rig, "b1")
    started = parse_time(rig.backup("b1")["status"]["startTime"])
    assert started is not None
    await rig.run(lambda: protected(rig) == ("False", "TooOld"), seconds=300)
    age = rig.world.clock.now() - started
    assert age.total_seconds() == pytest.approx(180, abs=1)
    await rig.settle(seconds=2)
    assert within(rig) == "0/1"


async def test_a_quiet_vm_is_not_polled() -> None:
    rig = rig_with(hours=24)
    await run(rig, "b1")
    await rig.settle(seconds=30)
    before = list(rig.world.cluster.written)
    await rig.settle(seconds=500)
    assert rig.world.cluster.written[len(before) :].count("ProtectedVM") == 0


async def test_damaged_points_do_not_count() -> None:
    rig = rig_with()
    await run(rig, "b1")
    await rig.settle(seconds=10)
    damage(rig, "b1")
    await rig.settle(seconds=10)
    assert protected(rig) == ("False", "Damaged")
    assert "latestBackup" not in vm_status(rig)
    assert policy_status(rig)["objective"]["worst"] == [{"vm": "db", "reason": "Damaged"}]


async def test_an_older_sound_point_still_counts() -> None:
    rig = rig_with(hours=2)
    await run(rig, "b1")
    await run(rig, "b2", "Incremental")
    damage(rig, "b2")
    await rig.settle(seconds=10)
    assert (protected(rig), vm_status(rig)["latestBackup"]) == (("True", "WithinObjective"), "b1")
    await pass_time(rig, 2 * HOUR)
    assert protected(rig) == ("False", "Damaged")


async def test_a_failed_backup_changes_nothing() -> None:
    rig = rig_with()
    rig.world.endings["b1"] = [Ending.FATAL]
    rig.create_backup("b1")
    await rig.run(lambda: rig.is_over("b1"))
    await rig.settle(seconds=10)
    assert protected(rig) == ("False", "NeverBackedUp")


async def test_a_point_that_is_deleted_counts_no_more() -> None:
    rig = rig_with()
    await run(rig, "b1")
    await rig.settle(seconds=10)
    rig.delete("b1")
    await rig.settle(seconds=60)
    assert protected(rig) == ("False", "NeverBackedUp")
    assert "latestTime" not in vm_status(rig)


async def test_adopted_points_count() -> None:
    """Whose Backups were lost with a cluster: the repository has them."""
    rig = rig_with()
    await run(rig, "b1")
    backup = rig.backup("b1")
    backup["metadata"]["finalizers"] = []
    rig.world.cluster.remove(kinds.BACKUP, backup)
    (chain,) = rig.world.cluster.all(kinds.BACKUP_CHAIN)
    rig.world.cluster.remove(kinds.BACKUP_CHAIN, chain)
    await rig.settle(seconds=5)
    rig.ask_for_a_scan()
    await rig.run(lambda: protected(rig) == ("True", "WithinObjective"), seconds=400)
    (adopted,) = rig.world.cluster.all(kinds.BACKUP)
    assert adopted["spec"]["adopt"]
    assert vm_status(rig)["latestTime"] == adopted["status"]["startTime"]


async def test_a_suspended_policy_says_so() -> None:
    rig = rig_with(suspend=True)
    await rig.settle(seconds=10)
    assert protected(rig) == ("False", "Suspended")
    await run(rig, "b1")
    await rig.settle(seconds=10)
    assert protected(rig) == ("True", "WithinObjective")
    await pass_time(rig, HOUR)
    assert protected(rig) == ("False", "Suspended")
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=False)
    await rig.settle(seconds=10)
    assert protected(rig) == ("False", "TooOld")


async def test_a_vm_that_vanished_is_told_apart() -> None:
    rig = rig_with(schedules=DAILY)
    await run(rig, "b1")
    await rig.settle(seconds=10)
    vanish(rig)
    await rig.settle(seconds=10)
    assert protected(rig) == ("Unknown", "Vanished")
    assert "nextTime" not in vm_status(rig)
    assert vm_status(rig)["latestBackup"] == "b1"
    assert (within(rig), objective(rig)) == ("0/0", ("Unknown", "NoVMs"))


async def test_a_vm_that_is_being_deleted_is_left_alone() -> None:
    rig = rig_with()
    await rig.settle(seconds=10)
    vm = rig.world.cluster.one(kinds.PROTECTED_VM, "db")
    vm["metadata"] |= {"deletionTimestamp": rig.world.clock.stamp(), "finalizers": ["example.com/held"]}
    rig.world.cluster.put(kinds.PROTECTED_VM, vm)
    before = vm_status(rig)
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=True)
    await rig.settle(seconds=30)
    assert vm_status(rig) == before
    assert within(rig) == "0/0"


async def test_the_next_run_and_the_policy() -> None:
    rig = rig_with(hours=None, schedules=DAILY)
    await rig.settle(seconds=10)
    status = vm_status(rig)
    assert (status["policy"], protected(rig)) == ("nightly", ("Unknown", "NoObjective"))
    assert status["nextTime"] == policy_status(rig)["nextTime"]
    assert "objective" not in policy_status(rig)
    rig.edit(kinds.BACKUP_POLICY, "nightly", schedules=[{"name": "daily", "cron": "30 2 * * *"}])
    await rig.settle(seconds=10)
    assert vm_status(rig)["nextTime"] == policy_status(rig)["nextTime"] != status["nextTime"]
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=True)
    await rig.settle(seconds=10)
    assert "nextTime" not in vm_status(rig)


async def test_the_next_run_moves_on_with_each_slot() -> None:
    rig = rig_with(hours=None, schedules=[{"name": "often", "cron": "*/5 * * * *"}])
    await rig.settle(seconds=10)
    first = vm_status(rig)["nextTime"]
    await rig.settle(seconds=300)
    assert vm_status(rig)["nextTime"] == policy_status(rig)["nextTime"] > first


async def test_without_its_policy_nothing_is_required() -> None:
    rig = rig_with()
    await rig.settle(seconds=10)
    rig.world.cluster.remove(kinds.BACKUP_POLICY, rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly"))
    await rig.settle(seconds=10)
    assert protected(rig) == ("Unknown", "NoObjective")
    assert "policy" not in vm_status(rig)


async def test_a_deleted_policy_that_the_watch_reports_late() -> None:
    rig = rig_with()
    await rig.settle(seconds=10)
    policy = rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly")
    index = rig.controller.protection.policies
    known = index.named(NAMESPACE, "nightly")
    assert known is not None
    rig.world.cluster.remove(kinds.BACKUP_POLICY, policy)
    index.put(known)
    await rig.settle(seconds=10)
    index.remove(known.uid)
    await rig.settle(seconds=10)
    assert protected(rig) == ("Unknown", "NoObjective")


async def test_the_strictest_of_several_policies() -> None:
    rig = rig_with(hours=24, schedules=DAILY)
    rig.create(kinds.BACKUP_REPOSITORY, sample.repository("offsite"))
    add_policy(rig, "strict", hours=1, repositoryRef={"name": "offsite"})
    await run(rig, "b1")
    await rig.settle(seconds=30)
    assert vm_status(rig)["policy"] == "strict"
    assert protected(rig) == ("False", "NeverBackedUp")
    assert within(rig) == "1/1"
    assert policy_status(rig, "strict")["objective"]["summary"] == "0/1"


async def test_after_a_restart_nothing_is_said_before_chains_are_known() -> None:
    rig = rig_with()
    await run(rig, "b1")
    await rig.settle(seconds=10)
    before = vm_status(rig), policy_status(rig)
    rig.restart()
    index = rig.controller.protection
    known = index.chains.of_vm(NAMESPACE, "db")
    index.chains.replace([], None)
    index.synced = lambda: False
    await rig.settle(seconds=5)
    assert (vm_status(rig), policy_status(rig)) == before
    index.chains.replace(known, None)
    index.synced = lambda: True
    await rig.settle(seconds=10)
    assert (vm_status(rig), policy_status(rig)) == before
    assert len(rig.events("NeverBackedUp")) <= 1


async def test_a_chain_of_an_earlier_version() -> None:
    rig = rig_with()
    await run(rig, "b1")
    await rig.settle(seconds=10)
    chain = rig.chain()
    for field in ("latestUsableBackup", "latestUsableTime"):
        del chain["status"][field]
    rig.controller.on_change("MODIFIED", kinds.BACKUP_CHAIN, chain)
    rig.controller.ctx.again(Key(Work.PROTECTION, NAMESPACE, "db"))
    await rig.controller.work()
    assert protected(rig) == ("True", "WithinObjective")


@pytest.mark.parametrize("write", range(1, 16))
async def test_a_controller_that_is_killed_at_any_write(write: int) -> None:
    rig = rig_with()
    rig.world.cluster.kill_after = len(rig.world.cluster.written) + write
    await run(rig, "b1")
    await rig.settle(seconds=30)
    assert rig.restarts == 1
    assert (protected(rig), within(rig)) == (("True", "WithinObjective"), "1/1")


async def test_a_check_lists_nothing() -> None:
    rig = rig_with(hours=24)
    await run(rig, "b1")
    await rig.settle(seconds=30)
    calls = rig.record_calls()
    await PolicyReconciler(rig.controller.ctx, rig.controller.protection)(NAMESPACE, "nightly")
    assert calls == [("get", "BackupPolicy"), ("get", "BackupRepository")]
    calls.clear()
    rig.controller.ctx.again(Key(Work.PROTECTION, NAMESPACE, "db"))
    await rig.controller.work()
    assert calls == [("get", "ProtectedVM")]


async def test_what_is_written_wakes_no_lookup() -> None:
    """Its own status write must not have all chains of a VM checked at each slot and after each backup."""
    rig = rig_with(hours=None, schedules=[{"name": "often", "cron": "0 * * * *"}])
    await rig.settle(seconds=30)
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=True)
    await rig.controller.work()
    calls = rig.record_calls()
    rig.world.step()
    rig.world.step()
    await rig.controller.work()
    assert "nextTime" not in vm_status(rig)
    assert ("list", "BackupChain") not in calls


async def test_a_vm_without_a_policy_is_written_once_per_restore_point() -> None:
    rig = Rig()
    rig.create_references()
    await rig.settle(seconds=30)
    written = rig.world.cluster.written
    before = len(written)
    await run(rig, "b1")
    await rig.settle(seconds=10)
    assert vm_status(rig)["latestBackup"] == "b1"
    assert protected(rig) == ("Unknown", "NoObjective")
    assert written[before:].count("ProtectedVM") <= 2  # one is of the lookup
