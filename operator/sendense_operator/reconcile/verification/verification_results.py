"""What the result of a verification changes: the status of the Backups that it verified, and of the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.answer import Answer, PointResult
from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import BackupVerification
from sendense_operator.api.v1alpha1.backupchain import ChainVerification
from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import human_bytes, human_count, whole_seconds
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.backups.damage_conditions import with_damage, with_proof
from sendense_operator.reconcile.backups.status_changes import DerivedChanges, changed_status
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.state.context import ChainJobContext
from sendense_operator.reconcile.state.kubernetes_objects import requested_by
from sendense_operator.task import VerificationLevel, VerificationTask

_ABREAST: Final = 8
"""Backups whose status is written at the same time."""


@dataclass(frozen=True)
class Findings:
    """What a pod answered about the restore points of its task."""

    task: VerificationTask
    answer: Answer
    time: datetime

    @classmethod
    def of(cls, task: VerificationTask, answer: Answer, now: datetime) -> Findings:
        """From the answer of a pod; `now` stands for an end that it does not tell."""
        return cls(task, answer, whole_seconds(min(answer.finished or now, now)))

    @property
    def results(self) -> dict[str, PointResult]:
        """Results by UID of the restore point; of a shorter answer than the task the rest is open."""
        pairs = zip(self.task.points, self.answer.results, strict=False)
        return {point.backup_uid: PointResult(letter) for point, letter in pairs if letter != PointResult.OPEN}

    def count(self, result: PointResult) -> int:
        """Return how many restore points had that result."""
        return sum(found is result for found in self.results.values())

    @property
    def has_advanced(self) -> bool:
        """Whether the pod came to a result for any restore point."""
        return any(found is not PointResult.FAILED for found in self.results.values())

    @property
    def problem(self) -> str:
        """Why not all was verified; empty when it was, or when the pod only was interrupted."""
        answer = self.answer
        if answer.outcome == "Failed":
            return f"{answer.reason}: {answer.message}"[:1000]
        if failed := self.count(PointResult.FAILED):
            text = f"{human_count(failed, 'restore point')} could not be verified: {answer.message}"
            return text[:1000]
        return ""

    @property
    def summary(self) -> str:
        """The result in words."""
        read = f", {human_bytes(self.answer.read_bytes)} were read" if self.answer.read_bytes else ""
        verified = human_count(self.count(PointResult.VERIFIED), "restore point")
        return f"{verified} verified ({self.task.level}){read}"


async def apply_results(ctx: ChainJobContext, backups: list[Obj], found: Findings) -> None:
    """Write what was found into the status of the Backups. Repeating it changes nothing more. Raises ClusterError."""
    results: Mapping[str, PointResult] = found.results
    concerned = [(obj, results[uid]) for obj in backups if (uid := point_uid(obj)) in results]
    for start in range(0, len(concerned), _ABREAST):
        some = concerned[start : start + _ABREAST]
        await asyncio.gather(*(_apply(ctx, obj, result, found) for obj, result in some))


async def _apply(ctx: ChainJobContext, obj: Obj, result: PointResult, found: Findings) -> None:
    backup = ObservedBackup.of(obj)
    before = backup.status.verification or BackupVerification()
    known = _known(before, result, found)
    known.request = requested_by(obj, names.ANNOTATION_VERIFY) or before.request
    old, generation = conditions.dicts_of(backup.status), obj["metadata"].get("generation")
    new = old
    if result is PointResult.VERIFIED:
        new = with_proof(old, known, generation=generation, now=ctx.now())
    elif result is PointResult.DAMAGED:
        new = with_damage(old, found.answer.message, generation=generation, now=ctx.now())
    changes = DerivedChanges(conditions=conditions.models_of(new), verification=known)
    # On the object that was read only: a scan may write the same conditions.
    await write_status(ctx.cluster, BACKUP, obj, changed_status(backup.status, changes), unchanged=True)


def _known(before: BackupVerification, result: PointResult, found: Findings) -> BackupVerification:
    match result:
        case PointResult.VERIFIED:
            read = found.task.level is VerificationLevel.CONTENT
            content = found.time if read else before.content_time
            return BackupVerification(time=found.time, structure_time=found.time, content_time=content)
        case PointResult.DAMAGED:
            return BackupVerification(time=found.time)
        case _:
            return BackupVerification(
                time=found.time, structure_time=before.structure_time, content_time=before.content_time
            )


def record_end(state: ChainVerification, found: Findings) -> None:
    """Let the chain's status tell of the end."""
    state.level, state.last_time = found.task.level, found.time
    state.last_verified, state.last_damaged = found.count(PointResult.VERIFIED), found.count(PointResult.DAMAGED)
    state.problem = found.problem
