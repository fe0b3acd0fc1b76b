"""A repository's pod that does not bring about what it is to do: Backups go on, and it is tried ever more seldom."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.rig import Rig
from tests.wiring.test_adoption import scanned
from tests.wiring.test_deletion import gone, is_settled
from tests.wiring.test_incrementals import backed_up, run

from sendense_operator.cluster import kinds
from sendense_operator.task import ProbeTask

PATIENCE = 100
"""Seconds that a pod may take for a scan or a removal."""


async def well(**repository: Any) -> Rig:
    """Return a repository that was scanned, with one restore point."""
    rig = Rig(probe_deadline_seconds=40, scan_deadline_seconds=PATIENCE)
    return await backed_up(
        rig, ("b1", "Full"), **{"scanIntervalSeconds": 3600, "probeIntervalSeconds": 600} | repository
    )


def message(rig: Rig) -> str:
    found: Obj = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")
    return str(found["status"]["conditions"][0]["message"])


def begun(rig: Rig, what: str) -> list[float]:
    """Return when pods began that were requested to scan, or to remove."""
    return [when for when, task in rig.world.looks if getattr(task, what)]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def ask(rig: Rig, request: str) -> None:
    """For a scan that may fail."""
    repository = rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store")
    repository["metadata"]["annotations"] = {"backup.sendense.io/scan": request}
    rig.world.cluster.put(kinds.BACKUP_REPOSITORY, repository)
    before = len(begun(rig, "scan"))
    await rig.run(lambda: len(begun(rig, "scan")) > before, seconds=10)


def scan_hangs(task: ProbeTask) -> bool:
    return task.scan


async def test_a_scan_that_takes_too_long_stops_no_backup() -> None:
    rig = await well()
    rig.world.hangs = scan_hangs
    await ask(rig, "now")
    begin = rig.world.clock.seconds
    await run(rig, "b2")
    await rig.run(lambda: rig.events("ScanIncomplete") or not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"))
    assert rig.world.clock.seconds - begin == pytest.approx(PATIENCE, abs=10)
    await rig.run(lambda: "the last scan did not succeed" in message(rig), seconds=10)
    assert rig.is_ready(kinds.BACKUP_REPOSITORY, "store")
    assert "did not end in time" in message(rig)
    when, task = rig.world.looks[-1]
    assert (task.scan, when - begin < PATIENCE + 10) == (False, True), "whether the storage is there is looked at"
    assert rig.phases() == {"b1": "Completed", "b2": "Completed"}


async def test_a_scan_that_never_ends_is_tried_ever_more_seldom_and_at_once_when_it_is_requested() -> None:
    rig = await well()
    rig.world.hangs = scan_hangs
    await ask(rig, "monday")
    await rig.settle(seconds=4 * 3600)
    pauses = [gap - PATIENCE for gap in gaps(begun(rig, "scan"))[1:]]
    assert pauses[0] == pytest.approx(30, abs=10)
    assert all(later > 1.5 * earlier or later > 3500 for earlier, later in itertools.pairwise(pauses))
    assert max(pauses) <= 3600 + 10
    rig.world.hangs = lambda task: False
    await ask(rig, "tuesday")
    await rig.run(lambda: message(rig) == "50.0 GiB free", seconds=10)


async def test_a_storage_that_is_away_is_noticed_after_a_scan_that_hung() -> None:
    rig = await well()
    rig.world.hangs = lambda task: True
    await ask(rig, "now")
    await rig.run(lambda: not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=PATIENCE + 60)
    assert "is the volume's storage there?" in message(rig)


async def test_a_new_repository_whose_first_scan_takes_long_becomes_ready_all_the_same() -> None:
    rig = Rig(probe_deadline_seconds=40, scan_deadline_seconds=PATIENCE)
    rig.world.hangs = scan_hangs
    rig.create_references()
    await rig.run(lambda: rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=60)
    rig.world.hangs = lambda task: False
    await scanned(rig)


@pytest.mark.parametrize("trouble", ["incomplete", "unreadable"])
async def test_a_scan_that_can_not_be_used_is_tried_ever_more_seldom(trouble: str) -> None:
    rig = await well()
    logs = rig.world.cluster.logs
    if trouble == "incomplete":
        rig.world.repository.chain().complete = False
    else:
        rig.world.cluster.logs = _Silent()
    await ask(rig, "now")
    await rig.settle(seconds=3600)
    assert 5 <= len(begun(rig, "scan")) - 1 <= 8
    assert rig.is_ready(kinds.BACKUP_REPOSITORY, "store")
    assert "the last scan did not succeed" in message(rig)
    rig.world.repository.chain().complete, rig.world.cluster.logs = True, logs
    await rig.run(lambda: message(rig) == "50.0 GiB free", seconds=3600)
    before = len(begun(rig, "scan"))
    await rig.settle(seconds=3500)
    assert len(begun(rig, "scan")) == before, "the next one is due in its time"


class _Silent(dict[str, list[str]]):
    """Logs of which nothing is left."""

    def get(self, key: str, default: Any = None) -> Any:
        return default


async def test_a_removal_that_never_ends_leaves_the_repository_usable() -> None:
    rig = await well()
    await run(rig, "b2", "Full")
    rig.world.hangs = lambda task: bool(task.remove)
    rig.delete("b1")
    await rig.run(lambda: rig.events("RemovalIncomplete"), seconds=PATIENCE + 30)
    await run(rig, "b3", "Full")
    await rig.settle(seconds=3600)
    assert rig.is_ready(kinds.BACKUP_REPOSITORY, "store")
    assert max(gaps(begun(rig, "remove"))) <= 600 + PATIENCE + 20
    rig.world.hangs = lambda task: False
    await rig.run(lambda: is_settled(rig), seconds=700)
    assert rig.world.repository.names() == ["b2", "b3"]


async def test_a_repository_that_is_away_is_looked_at_every_half_minute() -> None:
    """Whatever is to be removed from it: a pod that begins as soon as one has failed helps nobody."""
    rig = await well()
    good, rig.world.probe = rig.world.probe, sample.failed_answer("StorageError", "Input/output error")
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    await rig.run(lambda: not rig.is_ready(kinds.BACKUP_REPOSITORY, "store"), seconds=10)
    before = len(rig.world.looks)
    await rig.settle(seconds=300)
    assert 8 <= len(rig.world.looks) - before <= 11
    rig.world.probe = good
    await rig.run(lambda: is_settled(rig), seconds=40)
    assert rig.world.repository.names() == []
