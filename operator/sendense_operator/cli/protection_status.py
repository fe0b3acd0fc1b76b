"""Is each VM protected? Decided from what the objects say. Pure and total."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

from sendense_operator.api.v1alpha1.conditions import PROTECTED, READY, STALLED, find, is_true
from sendense_operator.cli.local_times import parse
from sendense_operator.views.backup_view import number, objects, part, reason_of, text

Obj = Mapping[str, Any]
_EVER: Final = datetime.min.replace(tzinfo=UTC)


class Level(IntEnum):
    """How much somebody has to do; the lowest comes first."""

    PROBLEM = 0
    WARNING = 1
    FINE = 2


@dataclass(frozen=True, slots=True)
class Protection:
    """One VM."""

    namespace: str
    vm: str
    level: Level
    state: str
    """A word or two: a condition's reason, or what is missing."""
    detail: str
    """What to do about it; empty when all is fine."""
    newest: datetime | None
    """When the content of its newest usable restore point was taken."""
    next_run: datetime | None
    policy: str
    running: str
    """Progress of the Backup that runs now; empty when none does."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A Backup that failed."""

    backup: str
    time: datetime
    reason: str


def decide_protection(
    vms: Iterable[Obj], failed: Iterable[Obj], running: Iterable[Obj], usable: Iterable[Obj]
) -> list[Protection]:
    """Return all VMs, problems first, then by namespace and name.

    failed, running: Backups of these phases. usable: BackupChains, for VMs whose status has no newest point.
    """
    failures, active, points = _newest_failures(failed), _progress_by_vm(running), _newest_points(usable)
    found = [_protection(vm, failures, active, points) for vm in vms]
    return sorted(found, key=lambda one: (one.level, one.namespace, one.vm))


def _protection(
    vm: Obj,
    failures: Mapping[tuple[str, str], Failure],
    active: Mapping[tuple[str, str], str],
    points: Mapping[tuple[str, str], datetime],
) -> Protection:
    meta, status = part(vm, "metadata"), part(vm, "status")
    key = text(meta.get("namespace")), text(meta.get("name"))
    newest = parse(status.get("latestTime")) or points.get(key)
    level, state, detail = _judged(status, newest, failures.get(key))
    return Protection(
        *key, level=level, state=state, detail=detail, newest=newest, next_run=parse(status.get("nextTime")),
        policy=text(status.get("policy")), running=active.get(key, ""),
    )  # fmt: skip


def _judged(status: Obj, newest: datetime | None, failure: Failure | None) -> tuple[Level, str, str]:
    conditions = objects(status.get("conditions"))
    protected = find(conditions, PROTECTED)
    failed = ""
    if failure is not None and (newest is None or failure.time > newest):
        failed = f"{failure.backup}: {failure.reason}"
    if status.get("vanishedTime"):
        return Level.PROBLEM, "Vanished", "vCenter no longer has this VM; its restore points are kept"
    if protected is not None and protected.get("status") == "False":
        why = [text(protected.get("message")), f"the last backup failed: {failed}" if failed else ""]
        return Level.PROBLEM, text(protected.get("reason")), "; ".join(word for word in why if word)
    if failed:
        return Level.PROBLEM, "LastBackupFailed", failed
    if newest is None:
        return Level.PROBLEM, "NeverBackedUp", "it has no restore point: `sendense backup` makes one"
    if is_true(conditions, STALLED) or not is_true(conditions, READY):
        ready = find(conditions, READY) or {}
        return Level.WARNING, text(ready.get("reason")) or "NotReady", reason_of(status)
    if not status.get("policy"):
        return Level.WARNING, "NoPolicy", "no BackupPolicy backs it up: nothing makes the next restore point"
    if protected is None:
        return Level.FINE, "NoObjective", ""
    return Level.FINE, "Protected", ""


def _newest_failures(backups: Iterable[Obj]) -> dict[tuple[str, str], Failure]:
    found: dict[tuple[str, str], Failure] = {}
    for backup in backups:
        status, key = part(backup, "status"), _vm_of(backup)
        ended = parse(status.get("completionTime")) or parse(part(backup, "metadata").get("creationTimestamp"))
        if ended is not None and (key not in found or ended > found[key].time):
            found[key] = Failure(text(part(backup, "metadata").get("name")), ended, reason_of(status))
    return found


def _progress_by_vm(backups: Iterable[Obj]) -> dict[tuple[str, str], str]:
    return {_vm_of(one): f"{number(part(part(one, 'status'), 'progress').get('percent'))}%" for one in backups}


def _newest_points(chains: Iterable[Obj]) -> dict[tuple[str, str], datetime]:
    found: dict[tuple[str, str], datetime] = {}
    for chain in chains:
        status, key = part(chain, "status"), _vm_of(chain)
        if (time := parse(status.get("latestUsableTime"))) is not None:
            found[key] = max(time, found.get(key, _EVER))
    return found


def _vm_of(obj: Obj) -> tuple[str, str]:
    """Return namespace and name of the VM that a Backup or a chain is of."""
    return text(part(obj, "metadata").get("namespace")), text(part(part(obj, "spec"), "vmRef").get("name"))
