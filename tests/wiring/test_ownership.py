"""One owner per restore point: second objects, copies that another tool restored, and deletions taken back."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import uid_of
from tests.wiring.rig import Rig
from tests.wiring.test_adoption import INTERVAL, scanned
from tests.wiring.test_deletion import delete, gone, removed
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds

LABELS = {names.LABEL_PHASE: "Completed"}
GRACE = 300


async def one_backup(*, grace: int = 0) -> Rig:
    return await backed_up(
        Rig(), ("b1", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10, deletionGraceSeconds=grace
    )


def restore(rig: Rig, name: str, obj: Obj, *, status: Obj | None = None, labels: dict[str, str] | None = None) -> None:
    """As another tool creates an object from its copy: a new UID, and the old status or none."""
    meta = {
        "name": name,
        "namespace": "shop",
        "uid": uid_of("restored", name),
        "generation": 1,
        "labels": labels or obj["metadata"].get("labels") or {},
    }
    restored = {"metadata": meta, "spec": obj["spec"]}
    rig.world.cluster.put(kinds.BACKUP, {**restored, "status": status} if status else restored)


async def test_a_second_object_is_refused_and_its_deletion_removes_nothing() -> None:
    rig = await one_backup()
    await scanned(rig)
    rig.create_backup("second", adopt={"uid": uid_of("Backup", "b1")})
    await rig.run(lambda: rig.is_over("second"), seconds=10)
    assert (rig.phase("second"), rig.reason("second")) == ("Failed", "RestorePointOwned")
    assert "Backup b1" in rig.backup("second")["status"]["message"]
    await scanned(rig)
    assert rig.phase("second") == "Failed"
    await delete(rig, "second")
    assert rig.world.repository.names() == ["b1"]
    await delete(rig, "b1")
    assert rig.world.repository.names() == []


async def test_one_that_was_refused_does_not_bring_back_what_was_retained() -> None:
    """Nor does it hide the restore point from a scan that somebody requests."""
    rig = await one_backup()
    await scanned(rig)
    rig.create_backup("second", adopt={"uid": uid_of("Backup", "b1")})
    await rig.run(lambda: rig.is_over("second"), seconds=10)
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=10)
    await scanned(rig)
    assert (rig.phase("second"), rig.reason("second")) == ("Failed", "RestorePointOwned")
    assert gone(rig, "b1")
    await scanned(rig, request="now")
    await rig.run(lambda: not gone(rig, "b1") and rig.phase("b1") == "Completed", seconds=INTERVAL)
    assert rig.phase("second") == "Failed"


async def test_of_two_that_adopt_the_older_one_wins() -> None:
    rig = await one_backup()
    uid = uid_of("elsewhere")
    rig.world.repository.commit_unheard("found", uid, rig.world.clock.now())
    rig.create_backup("one", adopt={"uid": uid})
    rig.world.step()
    rig.create_backup("two", adopt={"uid": uid})
    await rig.run(lambda: rig.is_over("one") and rig.is_over("two"), seconds=2 * INTERVAL)
    assert (rig.phase("one"), rig.phase("two")) == ("Completed", "Failed")


async def test_the_files_stay_while_another_object_owns_the_point() -> None:
    """Both are complete, as an earlier version left them: each deletion alone must not remove the other's files."""
    rig = await one_backup()
    first = rig.backup("b1")
    twin = {**first, "spec": {**first["spec"], "adopt": {"uid": uid_of("Backup", "b1")}}}
    restore(rig, "twin", twin, status=first["status"])
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=10)
    await rig.settle(seconds=2 * INTERVAL)
    assert rig.world.repository.names() == ["b1"]
    assert rig.phase("twin") == "Completed"
    await delete(rig, "twin")
    assert rig.world.repository.names() == []


@pytest.mark.parametrize("old", [False, True], ids=["with its UID", "of an earlier version"])
async def test_a_copy_with_its_status_takes_the_point_over(old: bool) -> None:
    rig = await one_backup()
    obj = rig.backup("b1")
    status = {key: value for key, value in obj["status"].items() if not (old and key == "restorePointUID")}
    rig.world.cluster.remove(kinds.BACKUP, obj)
    restore(rig, "b1", obj, status=status)
    await scanned(rig)
    await rig.settle(seconds=10)
    assert rig.phases() == {"b1": "Completed"}
    assert rig.backup("b1")["status"]["restorePointUID"] == uid_of("Backup", "b1")
    await delete(rig, "b1")
    assert rig.world.repository.names() == []


@pytest.mark.parametrize("old", [False, True], ids=["with its UID", "of an earlier version"])
async def test_a_copy_beside_its_original_owns_nothing(old: bool) -> None:
    rig = await one_backup()
    obj = rig.backup("b1")
    status = {key: value for key, value in obj["status"].items() if not (old and key == "restorePointUID")}
    restore(rig, "copy", obj, status=status)
    await scanned(rig)
    await rig.run(lambda: rig.phase("copy") == "Lost", seconds=2 * INTERVAL)
    assert rig.phase("b1") == "Completed"
    await delete(rig, "copy")
    assert rig.world.repository.names() == ["b1"]


async def test_a_copy_without_status_is_adopted_and_copies_nothing() -> None:
    rig = await one_backup()
    obj = rig.backup("b1")
    rig.world.cluster.remove(kinds.BACKUP, obj)
    restore(rig, "b1", obj, labels=LABELS)
    started = len(rig.events("Started"))
    await rig.run(lambda: rig.reason("b1") == "Adopting", seconds=5)
    rig.restart()
    await rig.run(lambda: rig.phase("b1") == "Completed", seconds=2 * INTERVAL)
    await scanned(rig)
    assert rig.phases() == {"b1": "Completed"}
    assert len(rig.events("Started")) == started
    assert rig.backup("b1")["status"]["restorePointUID"] == uid_of("Backup", "b1")


async def test_a_copy_whose_point_is_not_there_says_so_and_copies_nothing() -> None:
    rig = await one_backup()
    restore(rig, "b9", sample.backup("b9"), labels=LABELS)
    await rig.run(lambda: rig.is_over("b9"), seconds=3 * INTERVAL)
    status = rig.backup("b9")["status"]
    assert (rig.phase("b9"), rig.reason("b9")) == ("Lost", "Lost")
    assert "without that label" in status["conditions"][0]["message"]
    assert "workerJob" not in status
    assert rig.world.repository.names() == ["b1"]


async def test_what_was_deleted_stays_whole_for_its_grace() -> None:
    rig = await one_backup(grace=GRACE)
    await scanned(rig)
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    since = rig.world.clock.seconds
    await rig.settle(seconds=GRACE - 20)
    assert rig.world.repository.names() == ["b1"]
    assert removed(rig) == [("b1", "Pending")]
    assert rig.chain()["status"]["removed"][0]["keptUntil"]
    assert gone(rig, "b1")
    await rig.run(lambda: rig.world.repository.names() == [], seconds=60)
    assert rig.world.clock.seconds - since >= GRACE - 1


async def test_what_was_deleted_is_taken_back() -> None:
    rig = await one_backup(grace=GRACE)
    await scanned(rig)
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    rig.create_backup("back", adopt={"uid": uid_of("Backup", "b1")})
    await rig.run(lambda: rig.phase("back") == "Completed", seconds=10)
    await rig.settle(seconds=2 * GRACE)
    assert rig.world.repository.names() == ["b1"]
    assert rig.phases() == {"back": "Completed"}
    assert removed(rig) == []


async def test_retain_that_is_set_during_the_grace_binds() -> None:
    """The reflex after a deletion by mistake."""
    rig = await one_backup(grace=GRACE)
    await scanned(rig)
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionPolicy="Retain")
    await rig.settle(seconds=2 * GRACE)
    assert rig.world.repository.names() == ["b1"]


async def test_retain_of_the_repository_binds() -> None:
    rig = await one_backup()
    rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionPolicy="Retain")
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Delete")
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=10)
    await rig.settle(seconds=30)
    assert rig.world.repository.names() == ["b1"]
