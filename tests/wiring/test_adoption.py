"""Restore points that have no Backup here: which get one, and what becomes of a Backup that waits for its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.support import sample
from tests.support.sample import uid_of
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ForbiddenError, UnavailableError

INTERVAL = 60
CREATE = ("create", kinds.BACKUP)


def scans(rig: Rig) -> str:
    """Return when the last complete scan was."""
    catalogue = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store").get("status", {}).get("catalogue") or {}
    return str(catalogue.get("time", ""))


async def scanned(rig: Rig, *, request: str = "") -> None:
    """Until one more scan is in the status; asked for, or the next one that is due."""
    before = scans(rig)
    if request:
        repository = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")
        repository["metadata"]["annotations"] = {names.ANNOTATION_SCAN: request}
        rig.world.cluster.put(kinds.BACKUP_REPOSITORY, repository)
    await rig.run(lambda: scans(rig) != before, seconds=2 * INTERVAL)


async def test_a_point_by_a_slow_clock_is_adopted_by_the_next_scan() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    await scanned(rig)
    slow = rig.world.clock.now() - timedelta(hours=1)
    rig.world.repository.commit_unheard("by-a-slow-clock", uid_of("elsewhere"), slow)
    await scanned(rig)
    await rig.run(lambda: rig.phases().get("by-a-slow-clock") == "Completed", seconds=10)


async def test_what_is_retained_stays_out_of_sight_until_somebody_asks() -> None:
    """However young it is: its chain remembers."""
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    rig.delete("b1")
    await rig.run(lambda: "b1" not in rig.phases(), seconds=10)
    for _ in range(3):
        await scanned(rig)
        assert list(rig.phases()) == ["b2"]
    rig.restart()
    await scanned(rig)
    assert list(rig.phases()) == ["b2"]
    await scanned(rig, request="now")
    await rig.run(lambda: rig.phases().get("b1") == "Completed", seconds=10)


async def test_many_are_made_side_by_side_and_one_that_fails_is_made_later() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    await scanned(rig)
    wanted = {f"found-{number}" for number in range(20)}
    for name in wanted:
        rig.world.repository.commit_unheard(name, uid_of(name), rig.world.clock.now())
    failures = iter([UnavailableError("too many requests"), None, UnavailableError("a timeout")])
    rig.world.cluster.failing = lambda verb, kind: next(failures, None) if (verb, kind) == CREATE else None
    await rig.run(lambda: wanted <= {name for name, phase in rig.phases().items() if phase == "Completed"}, seconds=90)
    reported = [event["involvedObject"]["name"] for event in rig.events("Adopted")]
    assert sorted(reported) == sorted(wanted)
    assert next(failures, None) is None


async def test_a_namespace_that_goes_takes_none() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    rig.world.repository.commit_unheard("found", uid_of("found"), rig.world.clock.now())
    going = ForbiddenError("it is being terminated", terminating=True)
    rig.world.cluster.failing = lambda verb, kind: going if (verb, kind) == CREATE else None
    await scanned(rig)
    assert list(rig.phases()) == ["b1"]
    assert rig.controller.errors == []


async def test_one_whose_manifest_no_status_can_hold_says_so() -> None:
    """It neither waits for good nor is it made again and again; what is there stays there."""
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    await scanned(rig)
    points = rig.world.repository.chain().points
    forged = points[uid_of("Backup", "b2")]
    forged.layers = {key: disk.model_copy(update={"parent": "../x"}) for key, disk in forged.layers.items()}
    rig.world.cluster.remove(kinds.BACKUP, rig.backup("b2"))
    await scanned(rig)
    await rig.run(lambda: rig.phases().get("b2") == "Failed", seconds=10)
    message = rig.backup("b2")["status"]["conditions"][0]["message"]
    assert rig.reason("b2") == "StatusRejected"
    assert "b2.json" in message
    assert "does not fit the API" in message
    made = rig.backup("b2")["metadata"]["uid"]
    await scanned(rig)
    assert rig.backup("b2")["metadata"]["uid"] == made
    assert uid_of("Backup", "b2") in points
    assert rig.controller.errors == []


def adopting(rig: Rig, **spec: Any) -> None:
    """A Backup for a restore point that lies in the repository, as somebody restores it from a copy of the cluster."""
    uid = uid_of("elsewhere")
    rig.world.repository.commit_unheard("b9", uid, rig.world.clock.now())
    rig.create_backup("b9", adopt={"uid": uid}, **spec)


async def test_without_its_repository_it_waits_and_is_given_up_and_found_again() -> None:
    rig = Rig()
    adopting(rig, startDeadlineSeconds=100)
    await rig.run(lambda: rig.reason("b9") == "Adopting", seconds=10)
    assert "there is no BackupRepository store" in rig.backup("b9")["status"]["message"]
    await rig.run(lambda: rig.phase("b9") == "Lost", seconds=120)
    assert 100 <= rig.world.clock.seconds <= 120
    message = rig.backup("b9")["status"]["conditions"][0]["message"]
    assert "startDeadlineSeconds (100 s)" in message
    assert "there is no BackupRepository store" in message
    await rig.settle(seconds=60)
    assert rig.backup("b9")["metadata"]["finalizers"] == [names.FINALIZER_RESTORE_POINT], "it may have files"
    rig.create_references()
    await rig.run(lambda: rig.phase("b9") == "Completed", seconds=60)


async def test_a_repository_that_can_not_be_scanned_is_named_and_has_a_deadline() -> None:
    rig = Rig()
    rig.world.probe = sample.failed_answer("StorageError", "Input/output error")
    rig.create_references()
    adopting(rig, startDeadlineSeconds=200)
    await rig.run(lambda: "StorageError" in rig.backup("b9").get("status", {}).get("message", ""), seconds=60)
    assert rig.reason("b9") == "Adopting"
    await rig.run(lambda: rig.phase("b9") == "Lost", seconds=220)
    rig.world.probe = Rig().world.probe
    await rig.run(lambda: rig.phase("b9") == "Completed", seconds=INTERVAL)


async def test_one_whose_manifest_a_newer_version_wrote_is_not_lost_at_once() -> None:
    rig = await backed_up(Rig(), ("b1", "Full"), ("b2", "Full"), scanIntervalSeconds=INTERVAL, probeIntervalSeconds=10)
    uid = uid_of("Backup", "b2")
    rig.world.repository.chain().newer = {uid}
    rig.world.cluster.remove(kinds.BACKUP, rig.backup("b2"))
    rig.create_backup("b2", adopt={"uid": uid})
    await rig.run(lambda: "by a newer version" in rig.backup("b2").get("status", {}).get("message", ""), seconds=90)
    assert rig.reason("b2") == "Adopting"
    rig.world.repository.chain().newer.clear()
    await rig.run(lambda: rig.phase("b2") == "Completed", seconds=2 * INTERVAL)
    assert "Lost" not in rig.reported("b2")


async def test_it_waits_for_as_long_as_it_may() -> None:
    rig = Rig()
    adopting(rig, startDeadlineSeconds=300)
    await rig.settle(seconds=250)
    rig.create_references()
    await rig.run(lambda: rig.phase("b9") == "Completed", seconds=40)
    assert "Lost" not in rig.reported("b9")
