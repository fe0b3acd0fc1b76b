"""Restore points that have no Backup here: which get one, and what becomes of a Backup that waits for its own."""

from __future__ import annotations

from datetime import timedelta

from tests.support.sample import uid_of
from tests.wiring.rig import Rig
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds

INTERVAL = 60


def scans(rig: Rig) -> str:
    """When the last complete scan was."""
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
