"""The controller is killed after each of its writes while a chain grows or shrinks: the end is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from tests.support import sample
from tests.wiring.clock import DAY
from tests.wiring.rig import Rig
from tests.wiring.test_deletion import THREE, commit, is_settled
from tests.wiring.test_incrementals import backed_up
from tests.wiring.test_restarts import end_of
from tests.wiring.world import Ending

from sendense_operator.cluster import kinds

Story = Callable[[Rig], Any]
CHANGES_S = 8
"""Seconds from a story's begin to its turn."""


def _later(rig: Rig, *actions: Callable[[], None]) -> None:
    """Do these one second after the other."""
    begin = int(rig.world.clock.seconds) + CHANGES_S
    rig.world.later |= {begin + number: action for number, action in enumerate(actions)}


def _increment(rig: Rig) -> None:
    rig.create_backup("b4", type="Incremental")


def _increment_of_another_disk(rig: Rig) -> None:
    rig.vma.layout = {2000: 1 << 30, 2001: 1 << 30}
    rig.create_backup("b4", type="Auto")


def _increment_without_a_parent(rig: Rig) -> None:
    for point in rig.world.repository.points().values():
        point.damage = "disk 0: digest of chunk 3"
    rig.create_backup("b4", type="Incremental", onMissingParent="Fail")


def _deletion_of_the_newest(rig: Rig) -> None:
    rig.delete("b3")


def _deletion_of_the_middle_and_the_full(rig: Rig) -> None:
    rig.delete("b2")
    _later(rig, lambda: rig.delete("b1"))


def _deletion_of_all(rig: Rig) -> None:
    for name in ("b1", "b2", "b3"):
        rig.delete(name)


def _deletion_while_an_increment_runs(rig: Rig) -> None:
    rig.create_backup("b4", type="Incremental")
    _later(rig, lambda: rig.delete("b3"), lambda: rig.delete("b1"))


def _deletion_of_one_that_runs_and_commits(rig: Rig) -> None:
    rig.world.endings["b4"] = [Ending.HANG]
    rig.create_backup("b4", type="Incremental")
    _later(rig, lambda: commit(rig, "b4"), lambda: rig.delete("b4"))


def _deletion_of_one_that_is_retained(rig: Rig) -> None:
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    rig.delete("b1")
    rig.delete("b2")


def _deletion_of_one_that_is_immutable(rig: Rig) -> None:
    """Until its day is over; the one above it does not wait for that."""
    rig.edit(kinds.BACKUP_REPOSITORY, "store", immutability={"days": 1})
    obj = rig.backup("b3")
    obj["status"]["completionTime"] = sample.stamp(-2 * DAY)
    rig.world.cluster.put(kinds.BACKUP, obj)
    rig.world.repository.points()[obj["metadata"]["uid"]].finished -= timedelta(days=2)
    rig.delete("b2")
    rig.delete("b3")
    _later(rig, lambda: rig.world.clock.pass_days(1.1))


STORIES: dict[str, tuple[Story, str, str]] = {
    "an increment": (_increment, "b1 b2 b3 b4", ""),
    "an increment that is mixed": (_increment_of_another_disk, "b1 b2 b3 b4", ""),
    "an increment that fails": (_increment_without_a_parent, "b1 b2 b3", ""),
    "the newest": (_deletion_of_the_newest, "b1 b2", ""),
    "the middle and the full": (_deletion_of_the_middle_and_the_full, "b3", "b1 b2"),
    "all": (_deletion_of_all, "", ""),
    "while an increment runs": (_deletion_while_an_increment_runs, "b2 b4", "b1 b3"),
    "one that commits": (_deletion_of_one_that_runs_and_commits, "b1 b2 b3", ""),
    "one that is retained": (_deletion_of_one_that_is_retained, "b1 b3", "b2"),
    "one that is immutable": (_deletion_of_one_that_is_immutable, "b1", ""),
}
"""What happens, the restore points there are in the end, and what waits to be freed."""


async def _play(story: Story, kill_after: int | None) -> tuple[Rig, int]:
    rig = await backed_up(Rig(), *THREE)
    await rig.settle(seconds=30)
    before = len(rig.world.cluster.written)
    rig.world.cluster.kill_after = kill_after
    story(rig)
    await rig.settle(seconds=CHANGES_S + 3)
    await rig.run(lambda: _is_over(rig))
    await rig.settle(seconds=30)
    return rig, before


def _is_over(rig: Rig) -> bool:
    backups = rig.world.cluster.all(kinds.BACKUP)
    going = [obj for obj in backups if obj["metadata"].get("deletionTimestamp")]
    return not going and all(map(rig.is_over, rig.phases())) and rig.is_clean() and is_settled(rig)


def _moments(rig: Rig, before: int) -> Iterable[int]:
    """Return all writes of the story. Nobody reads an Event: what is there after it was there before it."""
    return [n for n, kind in enumerate(rig.world.cluster.written, 1) if n > before and kind != "Event"]


@pytest.mark.parametrize("name", STORIES)
async def test_killed_after_each_write(name: str) -> None:
    story, points, waiting = STORIES[name]
    calm, before = await _play(story, None)
    assert calm.world.repository.names() == points.split()
    assert calm.world.repository.waiting() == waiting.split()
    moments = list(_moments(calm, before))
    assert len(moments) > 4
    for moment in moments:
        rig, _ = await _play(story, moment)
        where = f"killed after write {moment}, of a {calm.world.cluster.written[moment - 1]}"
        rig.world.repository.check()
        assert rig.restarts == 1, where
        assert end_of(rig) == end_of(calm), where
        assert rig.world.repository.names() == calm.world.repository.names(), where
        assert rig.world.repository.waiting() == calm.world.repository.waiting(), where
        assert rig.world.jobs() == calm.world.jobs(), where
        assert len(rig.world.started) == len(calm.world.started), where
