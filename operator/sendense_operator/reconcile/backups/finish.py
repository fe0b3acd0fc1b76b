"""How a Backup ends: completed, failed, cancelled."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Unpack

from sendense_operator.answer import Answer
from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.known_hardware import known_hardware
from sendense_operator.formatting import human_bytes, whole_seconds
from sendense_operator.reconcile.backups.backup_status import ObservedBackup, publish
from sendense_operator.reconcile.backups.progress import (
    describe_result,
    final_disks,
    final_progress,
    stopped_disks,
    stopped_progress,
)
from sendense_operator.reconcile.backups.status_changes import BackupChanges
from sendense_operator.reconcile.state.backup_type import backup_type_of
from sendense_operator.reconcile.state.context import ReconcileContext, RestorePointContext
from sendense_operator.reconcile.state.keys import Key, Work

REPOSITORY_REASONS: Final = frozenset(
    {
        "RepositoryFull",
        "ReadOnly",
        "NotARepository",
        "RepositoryChanged",
        "RepositoryNewer",
        "StorageError",
    }
)
"""Failures after which the repository is checked."""
UNSEEN_REASONS: Final = frozenset({"WorkerDied", "NodeLost", "ActiveDeadlineExceeded"})
"""Failures without a worker's word: its restore point may be in the repository all the same."""


async def complete(
    ctx: RestorePointContext, backup: ObservedBackup, answer: Answer, **more: Unpack[BackupChanges]
) -> None:
    """Record the committed result that the worker answered, and free its slot."""
    await record(ctx, backup, answer, **more)
    _after(ctx, backup, answer)


async def record(
    ctx: RestorePointContext, backup: ObservedBackup, answer: Answer, **more: Unpack[BackupChanges]
) -> None:
    """Say of a Backup what is committed, and `more` fields of the status."""
    state = conditions.ready(
        "Committed", describe_result(answer, "adopted from the repository" if more.get("adopted") else "")
    )
    result: BackupChanges = {**_result(backup, answer, ctx.now()), **more}
    await publish(ctx, backup, state, **result)


def _result(backup: ObservedBackup, answer: Answer, now: datetime) -> BackupChanges:
    stored_bytes = sum(disk.stored_bytes for disk in answer.disks)
    return BackupChanges(
        type=backup_type_of(answer.disks),
        disks=final_disks(answer),
        progress=final_progress(answer, backup.status.start_time or answer.started, now),
        stored_bytes=stored_bytes,
        stored=human_bytes(stored_bytes),
        guest_bytes=sum(disk.guest_bytes for disk in answer.disks),
        manifest=answer.manifest or None,
        retained_until=whole_seconds(answer.retain_until) if answer.retain_until else None,
        repository_id=answer.repository_id or backup.status.repository_id,
        start_time=backup.status.start_time or whole_seconds(answer.started or now),
        restore_point_uid=backup.point_uid,
        hardware=known_hardware(answer.hardware) or backup.status.hardware,
        # Of the attempt that wrote it, which is not the last one when its answer was lost.
        job_id=answer.job_id or backup.status.job_id,
    )


async def fail(
    ctx: RestorePointContext, backup: ObservedBackup, reason: str, message: str, answer: Answer | None = None
) -> None:
    """Record a failure: the Backup will not become a restore point."""
    death = backup.status.worker_death
    if death is not None and death not in message:
        message = f"{death}; {message}"
    await publish(ctx, backup, conditions.stalled(reason, message), **_stopped(ctx, backup))
    if reason in REPOSITORY_REASONS:
        ctx.repository_messages.request_probe(backup.repository_key)
    _after(ctx, backup, answer)


async def cancelled(ctx: RestorePointContext, backup: ObservedBackup, message: str) -> None:
    """Record that the Backup was stopped on request."""
    await publish(ctx, backup, conditions.stalled(conditions.REASON_CANCELLED, message), **_stopped(ctx, backup))
    _after(ctx, backup, None)


def _stopped(ctx: ReconcileContext, backup: ObservedBackup) -> BackupChanges:
    progress = stopped_progress(backup.status.progress, backup.status.start_time, ctx.now())
    return {"progress": progress, "disks": stopped_disks(backup.status.disks)}


def _after(ctx: RestorePointContext, backup: ObservedBackup, answer: Answer | None) -> None:
    if answer is not None and answer.capacity is not None:
        ctx.repository_messages.report_capacity(backup.repository_key, answer.capacity)
    ctx.watch_hints.answers.pop(backup.uid)
    # The next one of its VM may have waited for it without a Job of it that ends.
    ctx.again(Key(Work.WAKE, backup.namespace))
    ctx.again(Key(Work.REPOSITORY, *backup.repository_key))
    ctx.again(chain_key(backup))


def chain_key(backup: ObservedBackup) -> Key:
    """Return the chain that the Backup belongs to."""
    return Key.of_chain(backup.namespace, backup.chain_key)
