"""The controller is killed after each of its writes: the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.wiring.fakecluster import Killed
from tests.wiring.rig import Rig
from tests.wiring.world import Ending

from sendense_operator.cluster import kinds

Story = Callable[[Rig], Any]


def _completes(rig: Rig) -> None:
    rig.create_references()
    rig.edit(kinds.APPLIANCE, "vma", nbd={"exposure": "NodePort"})
    rig.create_backup()


def _retries(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.FAIL]
    _completes(rig)


def _fails(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.FATAL]
    _completes(rig)


def _loses_its_answer(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.COMMIT_AND_VANISH]
    _completes(rig)


def _dies(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.DIE]
    _completes(rig)
    rig.edit(kinds.BACKUP, "b1", retries=0)


def _dies_after_its_commit(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.COMMIT_AND_DIE]
    _completes(rig)
    rig.edit(kinds.BACKUP, "b1", retries=0)


def _is_cancelled(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.HANG]
    _completes(rig)
    rig.world.later[25] = lambda: rig.edit(kinds.BACKUP, "b1", cancel=True)


def _is_deleted(rig: Rig) -> None:
    rig.world.endings["b1"] = [Ending.HANG]
    _completes(rig)
    rig.world.later[25] = lambda: rig.world.cluster.begin_deletion(kinds.BACKUP, rig.backup())


STORIES: dict[str, tuple[Story, str, int]] = {
    "completes": (_completes, "Completed", 1),
    "retries": (_retries, "Completed", 1),
    "fails": (_fails, "Failed", 1),
    "loses its answer": (_loses_its_answer, "Completed", 2),
    "dies": (_dies, "Failed", 2),
    "dies after its commit": (_dies_after_its_commit, "Completed", 2),
    "is cancelled": (_is_cancelled, "Cancelled", 1),
    "is deleted": (_is_deleted, "", 1),
}
"""What happens, the phase it ends in, and how many Jobs that takes."""


async def _play(story: Story, kill_after: int | None) -> Rig:
    rig = Rig()
    rig.world.cluster.kill_after = kill_after
    story(rig)
    await rig.run(lambda: rig.world.clock.seconds > 26 and _is_over(rig) and rig.is_clean())
    await rig.settle(seconds=20)
    return rig


def _is_over(rig: Rig) -> bool:
    return not rig.phases() or rig.is_over("b1")


def end_of(rig: Rig) -> dict[str, Any]:
    """Return what is left, without times and without what only tells the way."""
    dropped = {"metadata", "template", "time", "activeDeadlineSeconds", "lastFailure"}
    dropped |= {"durationSeconds", "duration", "rateBytesPerSecond", "rate"}
    if set(rig.phases().values()) != {"Completed"}:
        dropped |= {"progress", "percent", "bytesTransferred"}  # how far it had come when it was last looked at
    return {
        f"{kind}/{name}": _without(dropped, obj)
        | {"labels": obj["metadata"].get("labels"), "finalizers": obj["metadata"].get("finalizers")}
        for (kind, _, name), obj in sorted(rig.world.cluster.objects.items())
        if kind not in ("Event", "Node", "Pod")
    }


def _without(dropped: set[str], value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without(dropped, v) for k, v in value.items() if k not in dropped and not k.endswith("Time")}
    return [_without(dropped, item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", STORIES)
async def test_killed_after_each_write(name: str) -> None:
    story, phase, jobs = STORIES[name]
    calm = await _play(story, None)
    assert (calm.phases() or {"b1": ""})["b1"] == phase
    # Nobody reads an Event: what is there after it was there before it.
    moments = [number for number, kind in enumerate(calm.world.cluster.written, 1) if kind != "Event"]
    assert len(moments) > 12
    for moment in moments:
        rig = await _play(story, moment)
        where = f"killed after write {moment}, of a {calm.world.cluster.written[moment - 1]}"
        assert rig.restarts == 1, where
        assert end_of(rig) == end_of(calm), where
        assert len(rig.world.jobs()) == jobs, where
        assert len(set(rig.world.jobs())) == 1, where
        assert len(rig.world.started) == len(calm.world.started), where


async def test_killed_again_and_again() -> None:
    rig = Rig()
    _completes(rig)
    for _ in range(200):
        rig.world.cluster.kill_after = len(rig.world.cluster.written) + 2
        try:
            await rig.controller.work()
        except Killed:
            rig.restart()
        rig.world.step()
        if rig.phase() == "Completed" and rig.is_clean():
            break
    assert rig.restarts > 5
    assert (rig.phase(), len(rig.world.jobs()), len(rig.world.started)) == ("Completed", 1, 1)


async def test_a_controller_that_was_away_reads_the_answer_from_the_pod() -> None:
    rig = Rig()
    _completes(rig)
    await rig.run(lambda: rig.reason() == "Copying")
    for _ in range(60):
        rig.world.step()  # nobody looks
    assert rig.phase() == "Running"
    rig.restart()
    await rig.run(lambda: rig.phase() == "Completed" and rig.is_clean())
    assert len(rig.world.started) == 1
