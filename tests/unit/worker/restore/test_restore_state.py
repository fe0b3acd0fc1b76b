"""What the status port says of a restore."""

from __future__ import annotations

from tests.support.chains import uid_of
from tests.unit.worker.support import UID, settings

from sendense_operator.restore_task import RestoreDisk, RestoreTask
from sendense_operator.task import PointReference, Stage
from sendense_operator.worker.lifecycle.stop_requests import Stopping
from sendense_operator.worker.restore.restore_state import RestoreState

DISKS = (RestoreDisk(index=0, virtual_size=1000, claim="a"), RestoreDisk(index=3, virtual_size=500, claim="b"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def state(clock: Clock) -> RestoreState:
    task = RestoreTask(
        namespace="shop",
        restore="back",
        restore_uid=uid_of(1),
        vm="db",
        repository_id="r",
        point=PointReference(backup="b1", backup_uid=uid_of(2)),
        disks=DISKS,
    )
    return RestoreState(task, settings(), Stopping(), clock)


def test_bytes_of_each_disk() -> None:
    clock = Clock()
    running = state(clock)
    found = running.progress()
    assert (found.stage, found.job_id, found.message) == (Stage.STARTING, UID, "")
    assert [(disk.index, disk.virtual_size, disk.received_bytes) for disk in found.disks] == [(0, 1000, 0), (3, 500, 0)]
    running.say("checking disk 0")
    assert running.progress().message == "checking disk 0"
    running.restore(DISKS[0], 800)
    running.add(100)
    clock.now += 10
    running.add(100)
    found = running.progress()
    assert (found.stage, found.message) == (Stage.RESTORING, "restoring disk 0")
    assert [disk.received_bytes for disk in found.disks] == [400, 0], "what is left out is there already"
    assert [disk.rate for disk in found.disks] == [20.0, 0.0]
    assert [disk.eta_seconds for disk in found.disks] == [30, None]
    assert (found.rate, found.eta_seconds) == (20.0, 55)


def test_reading_back_does_not_count_twice() -> None:
    clock = Clock()
    running = state(clock)
    running.restore(DISKS[0], 0)
    running.read_back(DISKS[0], 400)
    clock.now += 10
    running.add(100)
    found = running.progress()
    assert (found.stage, found.message) == (Stage.VERIFYING, "reading back disk 0")
    assert found.disks[0].received_bytes == 1000
    assert found.disks[0].eta_seconds == 30
    assert not found.disks[0].completed
    running.complete(DISKS[0])
    assert running.progress().disks[0].completed
    assert not running.progress().disks[1].completed


def test_bytes_never_decrease() -> None:
    running = state(Clock())
    running.restore(DISKS[0], 300)
    running.add(300)
    running.restore(DISKS[0], 1000)
    assert running.progress().disks[0].received_bytes == 1000
    running.add(900)
    assert running.progress().disks[0].received_bytes == 1000
