"""Verification: on schedule and on request, one pod at a time, and what becomes of its result."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj, find_condition, status_and_reason
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.kinds import Kind
from sendense_operator.controller.handlers import keys_of_chain
from sendense_operator.object_key import ObjectKey

VERIFICATION = {"schedule": "0 * * * *", "fullCycleDays": 1}
CHAIN = (("b1", "Full"), ("b2", "Incremental"), ("b3", "Incremental"))
HOUR = 3600


def add_policy(rig: Rig, *vms: str, **verification: Any) -> None:
    refs = [{"name": name} for name in vms or ("db",)]
    spec = {"repositoryRef": {"name": "store"}, "vmRefs": refs, "verification": {**VERIFICATION, **verification}}
    rig.create(kinds.BACKUP_POLICY, sample.custom("BackupPolicy", "nightly", spec))


async def protected(modes: tuple[str, ...] = ("ReadWriteOnce",), **settings: Any) -> Rig:
    """Return a chain of three restore points, without a policy."""
    rig = Rig(**settings)
    rig.create_references(scanIntervalSeconds=2_592_000)
    rig.world.cluster.put(kinds.CLAIM, sample.claim(modes=modes))
    for name, kind in CHAIN:
        await run(rig, name, kind)
    return rig


async def next_slot(rig: Rig) -> None:
    """Let the clock come to the next full hour, with a schedule that is known since before."""
    await rig.settle(seconds=5)
    rig.world.clock.seconds = (rig.world.clock.seconds // HOUR + 1) * HOUR
    await rig.settle(seconds=2)


def verified(obj: Obj) -> tuple[str, str]:
    return status_and_reason(obj, "Verified")


def message(obj: Obj) -> str:
    return str(find_condition(obj["status"], "Verified")["message"])


def backups(rig: Rig) -> dict[str, tuple[str, str]]:
    return {b["metadata"]["name"]: verified(b) for b in rig.world.cluster.all(kinds.BACKUP)}


def policy(rig: Rig) -> Obj:
    return rig.world.cluster.one(kinds.BACKUP_POLICY, "nightly")


def state(rig: Rig) -> Obj:
    found: Obj = rig.chain()["status"]["verification"]
    return found


def jobs(rig: Rig) -> list[str]:
    return [
        job["metadata"]["name"] for job in rig.world.cluster.all(kinds.JOB) if "-verify-" in job["metadata"]["name"]
    ]


def annotate(rig: Rig, kind: Kind, name: str, value: str = "now") -> None:
    obj = rig.world.cluster.one(kind, name)
    annotations = {**(obj["metadata"].get("annotations") or {}), names.ANNOTATION_VERIFY: value}
    rig.world.cluster.put(kind, {**obj, "metadata": {**obj["metadata"], "annotations": annotations}})


async def is_over(rig: Rig, *, seconds: int = 300) -> None:
    """Wait for the end of what runs."""
    await rig.run(lambda: not jobs(rig) and not state(rig).get("progress"), seconds=seconds)
    await rig.settle(seconds=5)


ALL_READ = dict.fromkeys(("b1", "b2", "b3"), ("True", "ContentVerified"))


async def test_a_slot_reads_all_that_was_never_read() -> None:
    rig = await protected()
    add_policy(rig)
    await rig.settle(seconds=10)
    assert verified(rig.chain()) == verified(policy(rig)) == ("Unknown", "NotVerified")
    assert policy(rig)["status"]["verification"]["nextTime"].endswith(":00:00Z")
    await next_slot(rig)
    await rig.run(lambda: "restore point 2 of 3 (b2)" in state(rig).get("progress", ""), seconds=300)
    assert policy(rig)["status"]["verification"]["running"] == 1
    await is_over(rig)
    assert rig.world.verification.names() == ["b3", "b2", "b1"], "the newest first"
    assert backups(rig) == ALL_READ
    status = rig.backup("b2")["status"]["verification"]
    assert status["time"] == status["contentTime"] == status["structureTime"]
    assert verified(rig.chain()) == verified(policy(rig)) == ("True", "ContentVerified")
    assert (state(rig)["lastVerified"], state(rig)["level"]) == (3, "Content")
    summary = policy(rig)["status"]["verification"]
    assert (summary["restorePoints"], summary["verified"], summary["damaged"]) == (3, 3, 0)
    assert len(rig.events("RestorePointsVerified")) == 1
    assert rig.controller.errors == []


async def test_the_next_slot_reads_what_is_new_and_a_share_of_the_others() -> None:
    rig = await protected()
    add_policy(rig)
    await next_slot(rig)
    await is_over(rig)
    await run(rig, "b4")
    # Committed since the last slot: it is not late.
    assert verified(rig.chain()) == ("True", "ContentVerified")
    assert "1 committed since" in message(rig.chain())
    await next_slot(rig)
    await is_over(rig)
    # Each hour a 24th of the others, rounded up.
    assert len(rig.world.verification.tasks) == 2
    assert rig.world.verification.names() == ["b4", "b3"] or rig.world.verification.names() == ["b4", "b1"]


async def test_damage_is_named_on_all_that_share_it() -> None:
    rig = await protected()
    add_policy(rig)
    await next_slot(rig)
    await is_over(rig)
    rig.world.verification.flipped = {"b1", "b2"}
    annotate(rig, kinds.BACKUP, "b1")
    await rig.run(lambda: verified(rig.backup("b2")) == ("False", "Damaged"), seconds=150)
    await rig.settle(seconds=20)
    assert rig.world.verification.names() == ["b1"]
    assert backups(rig) == ALL_READ | dict.fromkeys(("b1", "b2"), ("False", "Damaged"))
    states = [point["state"] for point in rig.chain()["status"]["restorePoints"]]
    assert states == ["Damaged", "Damaged", "Available"]
    assert verified(rig.chain()) == verified(policy(rig)) == ("False", "Damaged")
    assert message(rig.chain()) == "2 of 3 restore points are damaged: b2, b1; the newest undamaged one is b3"
    assert "b1" in rig.events("DamageFound")[0]["message"]
    assert "contentTime" not in rig.backup("b1")["status"]["verification"]


async def test_a_repaired_restore_point_is_no_longer_damaged() -> None:
    rig = await protected()
    rig.world.verification.flipped = {"b3"}
    annotate(rig, kinds.BACKUP, "b3")
    await rig.run(lambda: verified(rig.backup("b3")) == ("False", "Damaged"), seconds=150)
    await rig.run(lambda: rig.chain()["status"]["next"]["type"] == "Full", seconds=150)
    rig.world.verification.flipped = set()
    annotate(rig, kinds.BACKUP, "b3", "later")
    await rig.run(lambda: verified(rig.backup("b3")) == ("True", "ContentVerified"), seconds=150)
    await rig.run(lambda: rig.chain()["status"]["next"]["type"] == "Incremental", seconds=150)
    assert rig.backup("b3")["status"]["verification"]["request"] == "later"


async def test_all_of_a_chain_on_request_without_a_policy() -> None:
    rig = await protected()
    assert verified(rig.chain()) == ("", "")
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: backups(rig) == ALL_READ, seconds=150)
    await is_over(rig)
    assert (state(rig)["request"], verified(rig.chain())) == ("now", ("True", "ContentVerified"))
    await rig.settle(seconds=600)
    assert len(rig.world.verification.tasks) == 1
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"], "again")
    await rig.run(lambda: state(rig).get("request") == "again", seconds=300)
    assert len(rig.world.verification.tasks) == 2


@pytest.mark.parametrize("write", range(1, 12))
async def test_a_controller_that_is_killed_at_any_write(write: int) -> None:
    rig = await protected()
    rig.world.verification.flipped = {"b1"}
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    rig.world.cluster.kill_after = len(rig.world.cluster.written) + write
    await rig.run(lambda: state(rig).get("request") == "now" if rig.chain()["status"].get("verification") else False)
    await rig.settle(seconds=300)
    assert rig.restarts == 1
    assert backups(rig) == ALL_READ | {"b1": ("False", "Damaged")}
    assert [point["state"] for point in rig.chain()["status"]["restorePoints"]] == ["Damaged", *["Available"] * 2]
    assert jobs(rig) == []


async def three_chains() -> Rig:
    """Of three VMs in one repository, at a slot of their policy."""
    rig = await protected()
    for name in ("web", "vm1"):
        rig.create(kinds.PROTECTED_VM, sample.protected_vm(name))
        await backed_up(rig, name)
    add_policy(rig, "db", "web", "vm1")
    await next_slot(rig)
    return rig


async def test_one_chain_of_a_repository_at_a_time() -> None:
    rig = await three_chains()
    await rig.run(lambda: len(rig.world.verification.tasks) == 3 and not jobs(rig), seconds=400)
    await rig.settle(seconds=5)
    assert rig.world.verification.most == 1
    assert set(backups(rig).values()) == {("True", "ContentVerified")}
    summary = policy(rig)["status"]["verification"]
    assert (summary["restorePoints"], summary["verified"]) == (5, 5)


async def test_a_chain_that_goes_while_it_waits_holds_up_no_other() -> None:
    rig = await three_chains()
    await rig.run(lambda: len(rig.world.verification.tasks) == 1, seconds=60)
    # The next in the queue, whichever it is.
    (queue,) = rig.controller.ctx.verification_hints.waiting.values()
    vm = next(iter(queue)).partition("/")[0]
    rig.delete(f"{vm}1")
    rest = {"web": "vm1", "vm1": "web", "db": "web"}[vm]
    await rig.run(lambda: backups(rig).get(f"{rest}1") == ("True", "ContentVerified"), seconds=200)


async def test_a_chain_whose_checks_fail_holds_up_no_other_for_ever() -> None:
    rig = await protected()
    place = next(iter(rig.world.cluster.all(kinds.BACKUP_REPOSITORY)))["metadata"]
    key = ObjectKey(place["namespace"], place["name"])
    rig.controller.ctx.verification_hints.waiting[key] = {"stuck/store": rig.controller.ctx.monotonic()}
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.settle(seconds=600)
    assert rig.world.verification.tasks == []
    await rig.run(lambda: backups(rig) == ALL_READ, seconds=1500)


async def test_progress_of_a_request_causes_no_further_checks() -> None:
    rig = await protected()
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: "1 of 3" in rig.chain()["status"].get("verification", {}).get("progress", ""), seconds=60)
    chain = rig.chain()
    assert keys_of_chain("MODIFIED", chain) == []
    await rig.run(lambda: state(rig).get("request") == "now", seconds=200)
    assert keys_of_chain("MODIFIED", rig.chain()) == []


async def test_a_request_for_a_chain_without_restore_points_ends() -> None:
    rig = await protected()
    for name, _ in CHAIN:
        rig.delete(name)
    await rig.run(lambda: rig.chain()["status"]["points"] == 0, seconds=60)
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: state(rig).get("request") == "now", seconds=30)


async def backed_up(rig: Rig, vm: str) -> None:
    rig.create(kinds.BACKUP, sample.backup(f"{vm}1", vm=vm))
    await rig.run(lambda: rig.is_over(f"{vm}1") and rig.is_clean())


async def test_a_backup_takes_the_claim_that_one_pod_at_a_time_can_use() -> None:
    rig = await protected(modes=("ReadWriteOncePod",))
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: "2 of 3" in rig.chain()["status"].get("verification", {}).get("progress", ""), seconds=150)
    await run(rig, "b4")
    await rig.run(lambda: state(rig).get("request") == "now", seconds=300)
    first, *others = [[point.backup for point in task.points] for task in rig.world.verification.tasks]
    assert first == ["b3", "b2", "b1"]
    # It goes on where it was; what was committed since the request belongs to it, too.
    assert others in ([["b4", "b2", "b1"]], [["b4", "b1"]])
    assert backups(rig) == ALL_READ | {"b4": ("True", "ContentVerified")}


async def test_a_restore_takes_that_claim_too() -> None:
    rig = await protected(modes=("ReadWriteOncePod",))
    rig.create(kinds.CLAIM, sample.claim("target", size="2Gi"))
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: "2 of 3" in rig.chain()["status"].get("verification", {}).get("progress", ""), seconds=150)
    rig.world.restores.endings["r1"] = [Ending.HANG]
    rig.create(kinds.RESTORE, sample.restore(claim="target"))
    await rig.run(lambda: rig.world.restores.tasks and not jobs(rig), seconds=150)
    await rig.settle(seconds=60)
    rig.world.restores.endings.clear()
    await rig.run(lambda: rig.world.restores.images == {"target": "b1"}, seconds=150)
    assert len(rig.world.verification.tasks) == 1, "while the restore runs, nothing is verified"
    await rig.run(lambda: backups(rig) == ALL_READ, seconds=300)
    first, *others = [[point.backup for point in task.points] for task in rig.world.verification.tasks]
    assert first == ["b3", "b2", "b1"]
    assert others in ([["b2", "b1"]], [["b1"]])


async def test_maintenance_takes_that_claim_too() -> None:
    rig = await protected(modes=("ReadWriteOncePod",))
    annotate(rig, kinds.BACKUP_CHAIN, rig.chain()["metadata"]["name"])
    await rig.run(lambda: "1 of 3" in rig.chain()["status"].get("verification", {}).get("progress", ""), seconds=150)
    looks = len(rig.world.looks)
    rig.ask_for_a_scan()
    await rig.run(lambda: len(rig.world.looks) > looks, seconds=150)
    assert jobs(rig) == []
    await rig.run(lambda: backups(rig) == ALL_READ, seconds=300)


async def test_pods_that_die_are_given_up_until_the_next_slot() -> None:
    rig = await protected()
    add_policy(rig)
    rig.world.verification.deaths = 3
    await next_slot(rig)
    await rig.run(lambda: len(rig.world.verification.tasks) == 3, seconds=600)
    await rig.settle(seconds=300)
    assert len(rig.world.verification.tasks) == 3
    assert verified(rig.chain()) == verified(policy(rig)) == ("False", "VerificationFailed")
    assert "OOMKilled" in message(rig.chain())
    await next_slot(rig)
    await is_over(rig)
    assert backups(rig) == ALL_READ
    assert verified(policy(rig)) == ("True", "ContentVerified")


async def test_storage_that_fails_says_nothing_of_the_restore_points() -> None:
    rig = await protected()
    add_policy(rig)
    rig.world.verification.failed = "input/output error"
    await next_slot(rig)
    await rig.run(lambda: verified(rig.chain()) == ("False", "VerificationFailed"), seconds=300)
    assert "input/output error" in message(rig.chain())
    assert set(backups(rig).values()) == {("", "")}
    assert rig.phase("b1") == "Completed"


async def test_the_structure_of_all_at_each_slot() -> None:
    rig = await protected()
    add_policy(rig, level="Structure")
    for count in (1, 2):
        await next_slot(rig)
        await is_over(rig)
        assert len(rig.world.verification.tasks) == count
        assert rig.world.verification.names() == ["b3", "b2", "b1"]
    assert backups(rig) == dict.fromkeys(("b1", "b2", "b3"), ("True", "StructureVerified"))
    assert verified(policy(rig)) == ("True", "StructureVerified")


async def test_a_suspended_policy_verifies_nothing() -> None:
    rig = await protected()
    add_policy(rig)
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=True)
    await next_slot(rig)
    await rig.settle(seconds=150)
    assert rig.world.verification.tasks == []
    rig.edit(kinds.BACKUP_POLICY, "nightly", suspend=False)
    await rig.settle(seconds=150)
    assert rig.world.verification.tasks == [], "slots are not made up for"
    await next_slot(rig)
    await is_over(rig)
    assert backups(rig) == ALL_READ


async def test_a_schedule_that_can_not_be_read() -> None:
    rig = await protected()
    add_policy(rig, timeZone="Mars/Olympus")
    await rig.settle(seconds=10)
    assert verified(rig.chain()) == verified(policy(rig)) == ("False", "InvalidVerification")
    assert "timeZone Mars/Olympus" in message(policy(rig))


async def test_a_policy_that_requires_it_no_longer() -> None:
    rig = await protected()
    add_policy(rig)
    await rig.settle(seconds=10)
    rig.edit(kinds.BACKUP_POLICY, "nightly", verification=None)
    await rig.settle(seconds=10)
    assert verified(policy(rig)) == ("", "")
    assert verified(rig.chain()) == ("", "")
    assert "verification" not in rig.chain()["status"]


async def test_a_repository_that_is_not_ready_is_waited_for() -> None:
    rig = await protected()
    add_policy(rig)
    rig.world.probe = sample.failed_answer("StorageError", "stale file handle")
    rig.ask_for_a_scan()
    await rig.run(lambda: not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=150)
    await next_slot(rig)
    await rig.settle(seconds=30)
    assert "not ready" in state(rig)["progress"]
    assert rig.world.verification.tasks == []
