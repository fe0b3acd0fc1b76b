"""The restore point of a Restore: which one, what its disks are, and whether its repository can be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupStatus, Phase
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.known_hardware import KnownHardware
from sendense_operator.api.v1alpha1.restore import LATEST, ChosenPoint, RestoreSource
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import BACKUP, BACKUP_REPOSITORY
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_list, parse_time
from sendense_operator.reconcile.catalogue.immutable_points import waits_for_its_time
from sendense_operator.reconcile.catalogue.ownership import point_uid
from sendense_operator.reconcile.repositories.repository_status import is_in_order
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting
from sendense_operator.reconcile.state.problem import Meaning, Problem

_KEPT_OF_STATUS: Final = ("completionTime", "restorePointUID", "disks", "phase", "hardware")


@dataclass(frozen=True)
class ReadableRepository:
    """The repository of the restore point, which is in order."""

    name: str
    spec: BackupRepositorySpec
    repository_id: str


@dataclass(frozen=True)
class SourcePoint:
    """A restore point that was found, and those of its disks that are wanted."""

    point: ChosenPoint
    disks: tuple[BackupDisk, ...]
    hardware: KnownHardware | None = None
    """The VM's hardware; None: not known."""


async def find_source(ctx: ReconcileContext, restore: ObservedRestore) -> SourcePoint | Problem:
    """Return the restore point that the spec names now. Raises ClusterError."""
    source = restore.spec.source
    if source.backup_ref is not None:
        backup = await find(ctx.cluster, BACKUP, restore.namespace, source.backup_ref.name)
        found = decide_named(source.backup_ref.name, backup)
    elif source.vm_ref is not None and source.repository_ref is not None:
        fields = (
            f"spec.vmRef.name={source.vm_ref.name},spec.repositoryRef.name={source.repository_ref.name},"
            f"status.phase={Phase.COMPLETED.value}"
        )
        backups = await collect(ctx.cluster, BACKUP, restore.namespace, _candidate, fields=fields)
        found = decide_newest(source, backups, allow_damaged=restore.spec.allow_damaged)
    else:
        return Problem("InvalidSource", "spec.source names neither a backupRef nor a vmRef", Meaning.FINAL)
    return found if isinstance(found, Problem) else decide_disks(source, found)


def decide_named(name: str, backup: Obj | None) -> Obj | Problem:
    """Return the Backup with this name if it is a restore point."""
    if backup is None:
        return Problem("BackupNotFound", f"there is no Backup {name}")
    if waits_for_its_time(backup):
        return backup
    if is_deleting(backup):
        return Problem("BackupDeleted", f"Backup {name} is being deleted", Meaning.FINAL)
    phase = (backup.get("status") or {}).get("phase")
    if phase == Phase.COMPLETED:
        return backup
    if phase == Phase.LOST:
        text = f"the files of Backup {name} were not found in the repository: restore another one"
        return Problem("RestorePointLost", text, Meaning.FINAL)
    if phase in conditions.TERMINAL_PHASES:
        text = f"Backup {name} has no restore point, its phase is {phase}: restore another one"
        return Problem("NotARestorePoint", text, Meaning.FINAL)
    return Problem("BackupNotReady", f"Backup {name} is not completed yet; its phase is {phase or Phase.PENDING.value}")


@dataclass(frozen=True)
class Candidate:
    """A restore point that may be the newest, and as little of it as needed: a chain may have a thousand."""

    time: datetime
    name: str
    is_damaged: bool
    backup: Obj


def _candidate(backup: Obj) -> Candidate | None:
    status = backup.get("status") or {}
    time = parse_time(status.get("completionTime"))
    if time is None or is_deleting(backup):
        return None
    damaged = conditions.is_true(status.get("conditions") or (), conditions.DAMAGED)
    meta = backup["metadata"]
    kept = {
        "metadata": {field: meta.get(field) for field in ("namespace", "name", "uid", "labels")},
        "spec": backup["spec"],
        "status": {field: status.get(field) for field in _KEPT_OF_STATUS if field in status},
    }
    return Candidate(time, meta["name"], damaged, kept)


def decide_newest(source: RestoreSource, candidates: Iterable[Candidate], *, allow_damaged: bool) -> Obj | Problem:
    """Return the Backup of the newest undamaged restore point that `at` allows; damaged ones only if there is no other.

    Damaged ones count at all only with `allow_damaged`.
    """
    limit = parse_time(source.at) if source.at not in (None, LATEST) else None
    in_time = [one for one in candidates if limit is None or one.time <= limit]
    sound = [one for one in in_time if not one.is_damaged]
    chosen = max(sound or (in_time if allow_damaged else ()), key=lambda one: (one.time, one.name), default=None)
    if chosen is not None:
        return chosen.backup
    vm = source.vm_ref.name if source.vm_ref is not None else ""
    repository = source.repository_ref.name if source.repository_ref is not None else ""
    what = f"restore point of VM {vm} in BackupRepository {repository}"
    until = f" that was complete at {source.at}" if limit is not None else ""
    if in_time:
        text = (
            f"each {what}{until} is damaged ({human_list([one.name for one in in_time])}): set spec.allowDamaged in "
            "a new Restore to get what is left"
        )
        return Problem("AllDamaged", text)
    return Problem("NoRestorePoint", f"there is no {what}{until}")


def decide_disks(source: RestoreSource, backup: Obj) -> SourcePoint | Problem:
    """Return the restore point of a Backup with the disks that are wanted."""
    status = BackupStatus.model_validate(backup["status"])
    name = str(backup["metadata"]["name"])
    known = {disk.index: disk for disk in status.disks}
    wanted = sorted(source.disks) if source.disks else sorted(known)
    if missing := [str(index) for index in wanted if index not in known]:
        text = f"spec.source.disks: Backup {name} has no disk {human_list(missing)}; it has {_listed(known)}"
        return Problem("DiskNotFound", text, Meaning.FINAL)
    if not wanted or status.completion_time is None:
        return Problem("BackupNotReady", f"the status of Backup {name} names no disks yet")
    point = ChosenPoint(
        backup_name=name,
        uid=point_uid(backup),
        vm_name=backup["spec"]["vmRef"]["name"],
        repository_name=backup["spec"]["repositoryRef"]["name"],
        time=status.completion_time,
    )
    return SourcePoint(point, tuple(known[index] for index in wanted), status.hardware)


def _listed(disks: Iterable[int]) -> str:
    return human_list([str(index) for index in sorted(disks)]) or "none"


async def find_repository(ctx: ReconcileContext, restore: ObservedRestore, name: str) -> ReadableRepository | Problem:
    """Return the BackupRepository if it can be read from. Raises ClusterError."""
    obj = await find(ctx.cluster, BACKUP_REPOSITORY, restore.namespace, name)
    if obj is None:
        return Problem("RepositoryNotFound", f"there is no BackupRepository {name}")
    repository_id = (obj.get("status") or {}).get("repositoryID") or ""
    if is_deleting(obj) or not repository_id or not is_in_order(obj):
        return Problem("RepositoryNotReady", f"BackupRepository {name} is not ready")
    return ReadableRepository(name, BackupRepositorySpec.model_validate(obj["spec"]), repository_id)
