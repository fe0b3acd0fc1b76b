"""Scans of a repository: what they bring back."""

from __future__ import annotations

from tests.support.sample import uid_of
from tests.wiring.rig import Rig
from tests.wiring.test_deletion import THREE, gone
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1.conditions import find
from sendense_operator.catalogue_format import Obstacle
from sendense_operator.cluster import kinds

INTERVAL_S = 60
ALL = {"b1", "b2", "b3"}


async def scanned(rig: Rig) -> None:
    """By the interval."""
    rig.edit(kinds.BACKUP_REPOSITORY, "store", scanIntervalSeconds=INTERVAL_S, probeIntervalSeconds=10)
    await rig.settle(seconds=2 * INTERVAL_S)


async def test_backups_whose_definition_was_deleted_alone() -> None:
    """The repository's object, and the time of its last scan, are still there."""
    rig = await backed_up(Rig(), *THREE)
    await scanned(rig)
    for backup in rig.world.cluster.all(kinds.BACKUP):
        rig.world.cluster.remove(kinds.BACKUP, backup)
    await scanned(rig)
    assert rig.phases() == dict.fromkeys(ALL, "Completed")
    assert {rig.backup(name)["spec"]["adopt"]["uid"] for name in ALL} == {uid_of("Backup", name) for name in ALL}
    assert rig.chain()["status"]["points"] == 3


async def test_a_manifest_that_can_be_read_now() -> None:
    """Of a newer version before an upgrade, or repaired: it is older than the last scan."""
    rig = await backed_up(Rig(), *THREE)
    rig.world.repository.chain().newer = {uid_of("Backup", "b2")}
    rig.world.cluster.remove(kinds.BACKUP, rig.backup("b2"))
    await scanned(rig)
    assert set(rig.phases()) == {"b1", "b3"}
    rig.world.repository.chain().newer.clear()
    await scanned(rig)
    assert set(rig.phases()) == ALL


async def test_what_stops_freeing_is_seen() -> None:
    rig = await backed_up(Rig(), *THREE)
    obstacle = Obstacle(reason="ReadOnly", doing="freeing", file="shop/db/disk-0/x", message="Operation not permitted")
    rig.world.repository.chain().obstacles = (obstacle,)
    await scanned(rig)
    found = find(rig.chain()["status"]["conditions"], "Freeing")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "ReadOnly")
    assert "shop/db/disk-0/x: Operation not permitted" in found["message"]
    await scanned(rig)
    (event,) = rig.events("FreeingStopped")
    assert (event["type"], event["message"]) == ("Warning", found["message"])
    assert event["involvedObject"]["kind"] == "BackupChain"
    rig.world.repository.chain().obstacles = ()
    await scanned(rig)
    assert [one["status"] for one in rig.chain()["status"]["conditions"] if one["type"] == "Freeing"] == ["True"]
    assert len(rig.events("FreeingResumed")) == 1


async def test_a_retained_point_comes_back_when_somebody_asks() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.edit(kinds.BACKUP, "b2", deletionPolicy="Retain")
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b2"), seconds=5)
    await scanned(rig)
    assert set(rig.phases()) == {"b1", "b3"}
    rig.ask_for_a_scan()
    await rig.run(lambda: set(rig.phases()) == ALL, seconds=60)
    await rig.settle(seconds=5)
    assert rig.chain()["status"].get("removed", []) == []
    assert rig.chain()["status"]["points"] == 3


async def test_one_that_no_status_can_tell_of_keeps_nobody_waiting() -> None:
    rig = await backed_up(Rig(), *THREE)
    points = rig.world.repository.chain().points
    away = {uid: points.pop(uid) for uid in (uid_of("Backup", "b2"), uid_of("Backup", "b3"))}
    await scanned(rig)
    assert rig.phases() == {"b1": "Completed", "b2": "Lost", "b3": "Lost"}
    forged = away[uid_of("Backup", "b2")]
    forged.layers = {key: disk.model_copy(update={"parent": "../x"}) for key, disk in forged.layers.items()}
    points |= away
    await scanned(rig)
    assert rig.phases() == {"b1": "Completed", "b2": "Lost", "b3": "Completed"}
    catalogue = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")["status"]["catalogue"]
    assert (catalogue["points"], catalogue["lost"]) == (3, 0)
    assert "Backup b2" in rig.events("StatusRejected")[0]["message"]
    assert rig.controller.errors == []
