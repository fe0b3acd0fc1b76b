"""Consolidation: by itself and on request, one pod at a time, and what becomes of its result."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import run

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.controller.handlers import keys_of_chain
from sendense_operator.object_key import ObjectKey

CHAIN = (("b1", "Full"), ("b2", "Incremental"), ("b3", "Incremental"), ("b4", "Incremental"))


async def backed_up(modes: tuple[str, ...] = ("ReadWriteOnce",), **settings: Any) -> Rig:
    """Return a chain of a full and three increments, on which pods merge what they can."""
    rig = Rig(**settings)
    rig.create_references(scanIntervalSeconds=2_592_000)
    rig.world.cluster.put(kinds.CLAIM, sample.claim(modes=modes))
    for name, kind in CHAIN:
        await run(rig, name, kind)
    rig.world.consolidation.merges = True
    return rig


def state(rig: Rig) -> Obj:
    found: Obj = rig.chain()["status"].get("consolidation") or {}
    return found


def jobs(rig: Rig) -> list[Obj]:
    return [job for job in rig.world.cluster.all(kinds.JOB) if "-merge-" in job["metadata"]["name"]]


def removed(rig: Rig) -> list[str]:
    return [f"{point['backup']} {point['state']}" for point in rig.chain()["status"].get("removed") or ()]


def layers(rig: Rig, name: str) -> tuple[str, int, str, int]:
    """Return type, depth and parent of a Backup's only disk, and its stored MiB."""
    (disk,) = rig.backup(name)["status"]["disks"]
    return disk["type"], disk["depth"], disk.get("parent", ""), disk["storedBytes"] >> 20


def request(rig: Rig, value: str = "now") -> None:
    obj = rig.chain()
    annotations = {**(obj["metadata"].get("annotations") or {}), names.ANNOTATION_CONSOLIDATE: value}
    rig.world.cluster.put(kinds.BACKUP_CHAIN, {**obj, "metadata": {**obj["metadata"], "annotations": annotations}})


def edit(rig: Rig, **consolidation: Any) -> None:
    name = rig.chain()["metadata"]["name"]
    rig.edit(kinds.BACKUP_CHAIN, name, consolidation={"mode": "Auto", "targetDepth": 8, **consolidation})


async def has_ended(rig: Rig, *, seconds: int = 200) -> None:
    """Wait for the end of what runs."""
    await rig.run(lambda: state(rig).get("lastTime") and not jobs(rig) and not state(rig)["progress"], seconds=seconds)
    await rig.settle(seconds=10)


async def test_a_removed_restore_point_is_merged_into_the_next_one() -> None:
    rig = await backed_up()
    rig.delete("b2")
    await rig.run(lambda: state(rig).get("progress") == "disk 0: 50% merged", seconds=100)
    assert removed(rig) == ["b2 Needed"]
    await has_ended(rig)
    assert removed(rig) == []
    assert (layers(rig, "b3"), layers(rig, "b4")) == (("Incremental", 2, "b1", 32), ("Incremental", 3, "b3", 32))
    assert [point["depth"] for point in rig.chain()["status"]["restorePoints"]] == [1, 2, 3]
    assert (rig.chain()["status"]["depth"], state(rig)["lastMerges"], state(rig)["left"]) == (3, 1, "")
    assert state(rig)["lastFreedBytes"] == 32 << 20
    (event,) = rig.events("Consolidated")
    assert "1 layer written in the place of several" in event["message"]
    assert rig.events("RestorePointFreed") == []
    assert len(rig.world.consolidation.tasks) == 1
    assert rig.controller.errors == []


async def test_the_full_grows_forward() -> None:
    rig = await backed_up()
    rig.delete("b1")
    await has_ended(rig)
    assert layers(rig, "b2") == ("Full", 1, "", 256)
    assert rig.backup("b2")["status"]["type"] == "Incremental", "what ran"
    assert rig.backup("b2")["metadata"]["labels"][names.LABEL_TYPE] == "Incremental"
    assert rig.backup("b2")["status"]["storedBytes"] == 256 << 20
    points = rig.chain()["status"]["restorePoints"]
    assert [(point["type"], point["full"], point["depth"]) for point in points] == [
        ("Full", "b2", 1),
        ("Incremental", "b2", 2),
        ("Incremental", "b2", 3),
    ]
    await run(rig, "b5", "Incremental")
    assert layers(rig, "b5") == ("Incremental", 4, "b4", 32)


async def test_what_was_copied_stays_as_reported() -> None:
    rig = await backed_up()
    before = rig.backup("b3")["status"]
    rig.delete("b2")
    await has_ended(rig)
    after = rig.backup("b3")["status"]
    kept = ("id", "key", "virtualSize", "bytesTransferred", "changeID", "percent")
    assert [after["disks"][0][field] for field in kept] == [before["disks"][0][field] for field in kept]
    same = ("type", "progress", "completionTime", "manifest", "jobID", "conditions")
    assert {field: after[field] for field in same} == {field: before[field] for field in same}


async def test_it_does_not_go_round_in_circles() -> None:
    rig = await backed_up()
    rig.world.consolidation.merges = False
    rig.delete("b2")
    await has_ended(rig)
    await rig.settle(seconds=1500)
    assert len(rig.world.consolidation.tasks) == 1
    rig.restart()
    await rig.settle(seconds=900)
    assert len(rig.world.consolidation.tasks) == 1, "a restart forgets nothing of it"
    rig.delete("b3")
    await rig.run(lambda: len(rig.world.consolidation.tasks) == 2, seconds=150)
    await has_ended(rig)
    assert removed(rig) == ["b2 Needed", "b3 Needed"]


async def test_a_chain_that_becomes_too_deep_is_merged() -> None:
    rig = await backed_up()
    rig.world.consolidation.merges = False
    edit(rig, targetDepth=4)
    rig.delete("b2")
    await has_ended(rig)
    rig.world.consolidation.merges = True
    await run(rig, "b5", "Incremental")
    await rig.run(lambda: removed(rig) == [], seconds=150)
    assert [task.target_depth for task in rig.world.consolidation.tasks] == [4, 4]
    assert rig.chain()["status"]["depth"] == 4


async def test_an_obstacle_is_told_and_tried_again_ever_more_seldom() -> None:
    rig = await backed_up()
    rig.world.consolidation.left = "LayerPinned"
    rig.delete("b2")
    await has_ended(rig)
    assert (state(rig)["left"], state(rig)["message"]) == ("LayerPinned", "left: LayerPinned")
    await rig.settle(seconds=600)
    assert 3 <= len(rig.world.consolidation.tasks) <= 5
    assert rig.events("ConsolidationFailed") == []
    rig.world.consolidation.left = ""
    await rig.run(lambda: removed(rig) == [], seconds=1500)
    await has_ended(rig)
    assert (state(rig)["left"], state(rig)["message"], state(rig)["tries"]) == ("", "", 0)


async def test_a_worker_s_new_obstacle_becomes_one_of_the_list() -> None:
    rig = await backed_up()
    rig.world.consolidation.left = "MoonPhase"
    rig.delete("b2")
    await has_ended(rig)
    assert state(rig)["left"] == "MergeFailed"


async def test_pods_that_die() -> None:
    rig = await backed_up()
    rig.world.consolidation.deaths = 1
    rig.delete("b2")
    await rig.run(lambda: rig.events("ConsolidationFailed"), seconds=100)
    assert "OOMKilled" in rig.events("ConsolidationFailed")[0]["message"]
    assert "OOMKilled" in state(rig)["problem"]
    await rig.run(lambda: removed(rig) == [], seconds=200)
    await has_ended(rig)
    assert (state(rig)["problem"], state(rig)["tries"]) == ("", 0)


async def test_only_on_request() -> None:
    rig = await backed_up()
    edit(rig, mode="Manual")
    rig.delete("b2")
    await rig.settle(seconds=300)
    assert rig.world.consolidation.tasks == []
    request(rig)
    await rig.run(lambda: state(rig).get("request") == "now", seconds=100)
    await has_ended(rig)
    assert removed(rig) == []
    assert [task.everything for task in rig.world.consolidation.tasks] == [True]
    await rig.settle(seconds=300)
    assert len(rig.world.consolidation.tasks) == 1


async def test_never_means_never() -> None:
    rig = await backed_up()
    edit(rig, mode="Never")
    rig.delete("b2")
    request(rig)
    await rig.run(lambda: state(rig).get("request") == "now", seconds=100)
    await rig.settle(seconds=100)
    assert rig.world.consolidation.tasks == []
    assert "spec.consolidation.mode" in state(rig)["problem"]
    edit(rig, mode="Auto")
    await rig.run(lambda: removed(rig) == [], seconds=200)
    await has_ended(rig)
    assert state(rig)["problem"] == ""


async def test_a_request_during_a_merge_is_acted_on_after_it() -> None:
    rig = await backed_up()
    rig.delete("b2")
    await rig.run(lambda: rig.world.consolidation.tasks, seconds=100)
    request(rig)
    await rig.run(lambda: state(rig).get("request") == "now", seconds=200)
    assert [task.everything for task in rig.world.consolidation.tasks] == [False, True]


async def test_only_in_its_window_but_on_request_at_any_time() -> None:
    rig = await backed_up()
    hour = int((rig.world.clock.now().hour + 2) % 24)
    edit(rig, window={"start": f"{hour:02}:00", "end": f"{(hour + 1) % 24:02}:00", "timeZone": "UTC"})
    rig.delete("b2")
    await rig.run(lambda: "window" in state(rig).get("progress", ""), seconds=100)
    await rig.settle(seconds=100)
    assert rig.world.consolidation.tasks == []
    rig.world.clock.seconds += 2 * 3600
    await rig.run(lambda: removed(rig) == [], seconds=200)
    await has_ended(rig)
    edit(rig, window={"start": f"{hour - 2:02}:00", "end": f"{hour - 1:02}:00", "timeZone": "UTC"})
    rig.delete("b3")
    request(rig)
    await rig.run(lambda: removed(rig) == [], seconds=200)


async def test_a_window_in_no_known_time_zone() -> None:
    rig = await backed_up()
    edit(rig, window={"start": "00:00", "end": "23:59", "timeZone": "Mars/Olympus"})
    rig.delete("b2")
    await rig.run(lambda: "timeZone Mars/Olympus" in state(rig).get("problem", ""), seconds=100)
    assert rig.world.consolidation.tasks == []


async def test_nothing_of_a_damaged_chain_is_merged() -> None:
    rig = await backed_up()
    rig.world.verification.flipped = {"b4"}
    obj = rig.backup("b4")
    annotations = {names.ANNOTATION_VERIFY: "now"}
    rig.world.cluster.put(kinds.BACKUP, {**obj, "metadata": {**obj["metadata"], "annotations": annotations}})
    await rig.run(lambda: rig.chain()["status"]["restorePoints"][-1]["state"] == "Damaged", seconds=150)
    rig.delete("b2")
    await rig.run(lambda: state(rig).get("left") == "Damaged", seconds=100)
    assert "b4" in state(rig)["message"]
    request(rig)
    await rig.run(lambda: state(rig).get("request") == "now", seconds=100)
    assert rig.world.consolidation.tasks == []


async def test_a_backup_runs_meanwhile() -> None:
    rig = await backed_up()
    rig.delete("b2")
    await rig.run(lambda: rig.world.consolidation.tasks, seconds=100)
    rig.create_backup("b5", type="Incremental")
    await rig.run(lambda: rig.reason("b5") == "Copying", seconds=15)
    assert jobs(rig)
    await rig.run(lambda: removed(rig) == [] and rig.is_over("b5"), seconds=100)
    await has_ended(rig)
    assert (rig.phase("b5"), layers(rig, "b5")[1]) == ("Completed", 4)
    assert len(rig.world.consolidation.tasks) == 1


async def test_a_backup_takes_the_claim_that_one_pod_at_a_time_can_use() -> None:
    rig = await backed_up(modes=("ReadWriteOncePod",))
    rig.delete("b2")
    await rig.run(lambda: state(rig).get("progress") == "disk 0: 50% merged", seconds=100)
    await run(rig, "b5", "Incremental")
    assert removed(rig) == ["b2 Needed"]
    await rig.run(lambda: removed(rig) == [], seconds=200)
    assert len(rig.world.consolidation.tasks) == 2


async def test_maintenance_takes_that_claim_too() -> None:
    rig = await backed_up(modes=("ReadWriteOncePod",))
    rig.delete("b2")
    await rig.run(lambda: state(rig).get("progress") == "disk 0: 50% merged", seconds=100)
    looks = len(rig.world.looks)
    rig.ask_for_a_scan()
    await rig.run(lambda: len(rig.world.looks) > looks, seconds=150)
    assert jobs(rig) == []
    await rig.run(lambda: removed(rig) == [], seconds=300)


async def test_verification_and_consolidation_take_turns_with_that_claim() -> None:
    rig = await backed_up(modes=("ReadWriteOncePod",))
    obj = rig.chain()
    annotations = {names.ANNOTATION_VERIFY: "now", names.ANNOTATION_CONSOLIDATE: "now"}
    rig.world.cluster.put(kinds.BACKUP_CHAIN, {**obj, "metadata": {**obj["metadata"], "annotations": annotations}})

    def at_once() -> int:
        pods = [pod for pod in rig.world.cluster.all(kinds.POD) if pod["status"].get("phase") in ("Pending", "Running")]
        return sum("-merge-" in pod["metadata"]["name"] or "-verify-" in pod["metadata"]["name"] for pod in pods)

    most = 0

    def are_done() -> bool:
        nonlocal most
        most = max(most, at_once())
        verified = (rig.chain()["status"].get("verification") or {}).get("request")
        return (verified, state(rig).get("request")) == ("now", "now")

    await rig.run(are_done, seconds=300)
    assert most == 1


async def test_on_a_shared_claim_neither_waits_for_the_other() -> None:
    rig = await backed_up()
    obj = rig.chain()
    annotations = {names.ANNOTATION_VERIFY: "now", names.ANNOTATION_CONSOLIDATE: "now"}
    rig.world.cluster.put(kinds.BACKUP_CHAIN, {**obj, "metadata": {**obj["metadata"], "annotations": annotations}})
    await rig.run(lambda: rig.world.consolidation.tasks and rig.world.verification.tasks, seconds=20)


async def test_one_chain_of_a_repository_at_a_time() -> None:
    rig = await backed_up()
    rig.create(kinds.PROTECTED_VM, sample.protected_vm("web"))
    for number, kind in enumerate(("Full", "Incremental", "Incremental"), 1):
        rig.create(kinds.BACKUP, sample.backup(f"w{number}", vm="web", type=kind))
        await rig.run(lambda number=number: rig.is_over(f"w{number}") and rig.is_clean())  # type: ignore[misc]
    rig.delete("b2")
    rig.delete("w2")
    await rig.run(lambda: len(rig.world.consolidation.tasks) == 2 and not jobs(rig), seconds=300)
    assert rig.world.consolidation.most == 1
    assert rig.world.repository.waiting() == []


async def test_a_repository_that_is_not_ready_is_waited_for() -> None:
    rig = await backed_up()
    rig.world.consolidation.merges = False
    rig.delete("b2")
    await has_ended(rig)
    rig.world.probe = sample.failed_answer("StorageError", "stale file handle")
    rig.ask_for_a_scan()
    await rig.run(lambda: not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=150)
    request(rig)
    await rig.run(lambda: "not ready" in state(rig)["progress"], seconds=100)
    assert len(rig.world.consolidation.tasks) == 1


async def test_a_merge_whose_log_is_gone_is_found_by_a_scan() -> None:
    rig = await backed_up()
    rig.delete("b2")
    await rig.run(lambda: rig.world.consolidation.tasks, seconds=100)
    looks = len(rig.world.looks)
    await rig.run(lambda: rig.world.repository.waiting() == [], seconds=100)
    rig.world.cluster.logs.clear()
    rig.restart()
    await rig.run(lambda: len(rig.world.looks) > looks and removed(rig) == [], seconds=200)
    await rig.run(lambda: layers(rig, "b3") == ("Incremental", 2, "b1", 32), seconds=100)
    assert layers(rig, "b4")[1] == 3
    await has_ended(rig)


async def test_a_pod_that_listed_the_chain_later_knows_better() -> None:
    rig = await backed_up()
    rig.delete("b2")
    await rig.run(lambda: rig.world.consolidation.tasks, seconds=100)
    catalogues, key = rig.controller.ctx.repository_hints.catalogues, ObjectKey(sample.NAMESPACE, "store")
    known = catalogues.get(key)
    assert known is not None
    later = replace(known.chains["db"], taken=known.chains["db"].taken + timedelta(hours=1))
    catalogues.put(key, replace(known, chains={"db": later}))
    await has_ended(rig)
    assert rig.world.repository.waiting() == []
    kept = catalogues.get(key)
    assert kept is not None
    assert kept.chains["db"] == later
    assert layers(rig, "b3") == ("Incremental", 3, "b2", 32)


async def test_progress_of_a_request_causes_no_further_checks() -> None:
    rig = await backed_up()
    request(rig)
    await rig.run(lambda: state(rig).get("progress") == "disk 0: 50% merged", seconds=60)
    assert keys_of_chain("MODIFIED", rig.chain()) == []
    await rig.run(lambda: state(rig).get("request") == "now", seconds=200)
    assert keys_of_chain("MODIFIED", rig.chain()) == []


@pytest.mark.parametrize("write", range(1, 16))
async def test_a_controller_that_is_killed_at_any_write(write: int) -> None:
    rig = await backed_up()
    edit(rig, mode="Manual")
    rig.delete("b1")
    rig.delete("b2")
    await rig.run(lambda: removed(rig) == ["b1 Needed", "b2 Needed"], seconds=100)
    await rig.settle(seconds=20)
    request(rig)
    before = len(rig.world.cluster.written)
    rig.world.cluster.kill_after = before + write
    await rig.run(lambda: state(rig).get("request") == "now")
    await rig.settle(seconds=200)
    assert len(rig.world.cluster.written) < before + write or rig.restarts == 1
    assert removed(rig) == []
    assert (layers(rig, "b3"), layers(rig, "b4")) == (("Full", 1, "", 256), ("Incremental", 2, "b3", 32))
    points = rig.chain()["status"]["restorePoints"]
    assert [(point["type"], point["depth"]) for point in points] == [("Full", 1), ("Incremental", 2)]
    assert (state(rig)["progress"], state(rig)["request"], jobs(rig)) == ("", "now", [])
