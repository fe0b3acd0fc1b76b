"""What a verification's pod does: it reads one restore point after the other, and marks what is damaged."""

from __future__ import annotations

from datetime import datetime

from tests.wiring.repositoryworld import RepositoryWorld

from sendense_operator.answer import Answer, PointResult
from sendense_operator.task import Progress, Stage, VerificationTask

POINT_S = 20
"""Seconds that a restore point takes."""


class VerificationWorld:
    """All verifications of one volume."""

    def __init__(self, repository: RepositoryWorld) -> None:
        self._repository = repository
        self.tasks: list[VerificationTask] = []
        """What each pod received."""
        self.flipped: set[str] = set()
        """Names of restore points that no longer read as they were written."""
        self.deaths = 0
        """Pods that are killed before they answer."""
        self.failed = ""
        """Why no restore point can be read; empty: they can."""
        self.most = 0
        """Pods that ran at the same time."""

    def names(self, number: int = -1) -> list[str]:
        """Return the restore points of a pod's task."""
        return [point.backup for point in self.tasks[number].points]

    def answer(self, task: VerificationTask, age: int, now: datetime, *, cancelled: bool = False) -> Answer | None:
        """Return what a pod answers that has run for `age` seconds; None: it has not come to its end."""
        done = age // POINT_S
        if done < len(task.points) and not cancelled:
            return None
        if self.failed:
            results = PointResult.FAILED * len(task.points)
            return Answer(outcome="Failed", reason="StorageError", message=self.failed, results=results, finished=now)
        points = self._repository.points()
        letters, damaged = "", list[str]()
        for place, reference in enumerate(task.points):
            point = points.get(reference.backup_uid)
            if place >= done:
                letters += PointResult.OPEN
            elif point is None:
                letters += PointResult.GONE
            elif point.backup in self.flipped:
                letters += PointResult.DAMAGED
                damaged.append(point.backup)
            else:
                letters += PointResult.VERIFIED
                point.damage = ""
        for point in points.values() if damaged else ():
            if point.backup in self.flipped:
                point.damage = "disk 0: the content at byte 0 of the disk is not what was written"
        text = f"{len(damaged)} of {len(task.points)} restore points: {', '.join(damaged)}" if damaged else ""
        outcome = "Cancelled" if cancelled else "Completed"
        reason = "Cancelled" if cancelled else ""
        return Answer(outcome=outcome, reason=reason, message=text, results=letters, read_bytes=1 << 20, finished=now)

    def progress(self, task: VerificationTask, age: int, now: datetime) -> Progress:
        """Return what a pod's status endpoint says."""
        at = min(age // POINT_S, len(task.points) - 1)
        text = f"restore point {at + 1} of {len(task.points)} ({task.points[at].backup}), 50% read"
        return Progress(job_id="", stage=Stage.VERIFYING, started=now, disks=(), message=text)
