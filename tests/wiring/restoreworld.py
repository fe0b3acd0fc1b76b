"""What a restore's pod does: it writes images into claims, and reads them back."""

from __future__ import annotations

from datetime import datetime

from tests.wiring.ending import Ending
from tests.wiring.repositoryworld import RepositoryWorld

from sendense_operator.answer import Answer, DamagedRange, RestoredDisk
from sendense_operator.restore_task import RestoreTask
from sendense_operator.task import DiskProgress, Progress, Stage

DATA = 1 << 29


class RestoreWorld:
    """All restores from one volume."""

    def __init__(self, repository: RepositoryWorld) -> None:
        self._repository = repository
        self.tasks: list[RestoreTask] = []
        """What each pod received."""
        self.images: dict[str, str] = {}
        """By claim: the restore point that it holds."""
        self.partials: dict[str, str] = {}
        """By claim: the restore point of which it holds an unfinished image."""
        self.endings: dict[str, list[Ending]] = {}
        """By Restore: how its pods end, one after the other; then they complete. With -sender: those of its sender."""
        self.damaged: set[str] = set()
        """Names of restore points with a damaged chunk."""

    def begin(self, task: RestoreTask) -> None:
        """A pod starts."""
        self.tasks.append(task)
        for disk in task.disks:
            if disk.claim and disk.claim not in self.images:
                self.partials[disk.claim] = task.point.backup

    def ending(self, task: RestoreTask, age: int) -> Ending:
        """Return how the pod ends that has run for `age` seconds."""
        planned = self.endings.get(f"{task.restore}-sender" if task.serve_digests else task.restore)
        if not planned:
            goes_on = task.serve and (task.serve_seconds is None or age < task.serve_seconds)
            return Ending.HANG if goes_on else Ending.COMPLETE
        return planned[0] if planned[0] is Ending.HANG else planned.pop(0)

    def finish(self, task: RestoreTask, now: datetime) -> Answer:
        """Return what a pod answers that came to its end."""
        name = task.point.backup
        if task.point.backup_uid not in self._repository.points():
            return Answer(outcome="Failed", reason="RestorePointGone", message=f"{name} was removed", finished=now)
        damaged = name in self.damaged
        if damaged and not task.allow_damaged:
            self._remove(task)
            text = "disk 0: byte 0 is not what was written; the newest restore point without known damage is b1"
            return Answer(outcome="Failed", reason="RestorePointDamaged", message=text, finished=now)
        for disk in task.disks:
            if disk.claim:
                self.partials.pop(disk.claim, None)
                self.images[disk.claim] = name
        ranges = (DamagedRange(offset=0, length=1 << 22),) if damaged else ()
        restored = tuple(
            RestoredDisk(
                index=disk.index,
                data_bytes=DATA,
                written_bytes=0 if task.verify_only else DATA,
                damaged=ranges,
                damaged_bytes=sum(part.length for part in ranges),
            )
            for disk in task.disks
        )
        return Answer(outcome="Completed", restored=restored, finished=now)

    def cancel(self, task: RestoreTask, now: datetime) -> Answer:
        """Return what a pod answers that was requested to stop; it removes what is unfinished."""
        self._remove(task)
        return Answer(outcome="Cancelled", reason="Cancelled", message="the restore was cancelled", finished=now)

    def _remove(self, task: RestoreTask) -> None:
        for disk in task.disks:
            self.partials.pop(disk.claim, None)

    def progress(self, task: RestoreTask, age: int, now: datetime) -> Progress:
        """Return what a pod's status endpoint says."""
        if task.serve:
            stage = Stage.STARTING if age < 3 else Stage.SERVING
            return Progress(job_id="", stage=stage, started=now, disks=())
        stage = Stage.RESTORING if age < 8 else Stage.VERIFYING
        disks = tuple(
            DiskProgress(
                index=disk.index,
                virtual_size=disk.virtual_size,
                received_bytes=min(disk.virtual_size, disk.virtual_size * age // 8),
                rate=float(DATA),
                eta_seconds=max(8 - age, 0),
            )
            for disk in task.disks
        )
        return Progress(job_id="", stage=stage, started=now, disks=disks, rate=float(DATA), eta_seconds=max(8 - age, 0))
