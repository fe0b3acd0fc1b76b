"""What the gateway remembers of each object: what is asked for, and the JSON of Backups and Restores. Pure.

A Backup object with its managed fields is some 20 KB of Python objects; a record is about 2 KB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Self

from sendense_operator.consolidation_task import ConsolidationMode
from sendense_operator.views import backup_view, restore_view
from sendense_operator.views.backup_view import number, objects, part, text


@dataclass(frozen=True, slots=True)
class Layer:
    """One disk of a backup."""

    disk_index: int
    parent: str
    """Name of the Backup that it depends on; empty for a full."""
    file: str
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class CachedObject:
    """What all kinds have. Times are RFC 3339 in UTC, so they sort as text."""

    namespace: str
    name: str
    uid: str
    created: str


@dataclass(frozen=True, slots=True)
class CachedRun(CachedObject):
    """One Backup or Restore."""

    vm: str
    vm_name: str
    repository: str
    status: str
    deleting: bool
    body: bytes
    """Its JSON."""


@dataclass(frozen=True, slots=True)
class CachedBackup(CachedRun):
    """One Backup."""

    type: str
    completed: str
    policy: str
    """`spec.deletionPolicy`; empty: as the repository says."""
    retained_until: str
    """`status.retainedUntil`; empty: it has no such time."""
    stored_bytes: int
    layers: tuple[Layer, ...]

    @property
    def is_point(self) -> bool:
        """Whether it is a restore point."""
        return self.status == backup_view.COMPLETED and not self.deleting

    @classmethod
    def from_object(cls, obj: Mapping[str, Any], vm_name: str = "") -> Self:
        """From a Backup. `vm_name`: VMware's name of the VM, where it is known. Raises KeyError without metadata."""
        status = part(obj, "status")
        shown = backup_view.backup_json(obj, vm_name)
        return cls(
            *_run(obj, shown),
            type=intern(shown["type"]),
            completed=shown["completed_at"] or "",
            policy=intern(text(part(obj, "spec").get("deletionPolicy"))),
            retained_until=text(status.get("retainedUntil")),
            stored_bytes=number(status.get("storedBytes")),
            layers=tuple(_layer(disk) for disk in backup_view.disks_of(status)),
        )


def _layer(disk: Mapping[str, Any]) -> Layer:
    return Layer(
        number(disk.get("id")), text(disk.get("parent")), text(disk.get("file")), number(disk.get("storedBytes"))
    )


@dataclass(frozen=True, slots=True)
class CachedRestore(CachedRun):
    """One Restore. VM and repository are empty until they are known."""

    backup: str
    """Name of the Backup; empty until one is chosen."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any], source: restore_view.KnownSource = restore_view.NOTHING_KNOWN) -> Self:
        """From a Restore. `source`: what other objects say about what it restores. Raises KeyError without metadata."""
        shown = restore_view.restore_json(obj, source)
        return cls(*_run(obj, shown), backup=intern(shown["backup_id"] or ""))


@dataclass(frozen=True, slots=True)
class Removed:
    """A restore point whose Backup was deleted, and whose layers are still there."""

    backup: str
    stored_bytes: int
    needed_by: str


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Consolidation of a BackupChain."""

    mode: str
    is_requested: bool
    progress: str
    last_time: str
    merges: int
    freed_bytes: int
    left: str
    message: str
    """Explanation of `left`, or why the last one did not come to its end."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From a BackupChain."""
        spec, status = part(part(obj, "spec"), "consolidation"), part(part(obj, "status"), "consolidation")
        return cls(
            mode=intern(text(spec.get("mode")) or ConsolidationMode.AUTO.value),
            is_requested=bool(status.get("requestTime")),
            progress=text(status.get("progress")),
            last_time=backup_view.moment(status.get("lastTime")) or "",
            merges=number(status.get("lastMerges")),
            freed_bytes=number(status.get("lastFreedBytes")),
            left=intern(text(status.get("left"))),
            message=text(status.get("message")) or text(status.get("problem")),
        )


@dataclass(frozen=True, slots=True)
class CachedChain(CachedObject):
    """One BackupChain."""

    vm: str
    repository: str
    points: int
    latest: str
    latest_time: str
    stored_bytes: int
    fulls: tuple[tuple[str, str], ...]
    """Restore points, oldest first: name of the Backup, and of the one whose full it depends on (empty: not known)."""
    removed: tuple[Removed, ...]
    consolidation: Consolidation

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From a BackupChain. Raises KeyError without metadata."""
        spec, status = part(obj, "spec"), part(obj, "status")
        return cls(
            *_identity(obj),
            vm=intern(text(part(spec, "vmRef").get("name"))),
            repository=intern(text(part(spec, "repositoryRef").get("name"))),
            points=number(status.get("points")),
            latest=text(status.get("latestBackup")),
            latest_time=backup_view.moment(status.get("latestTime")) or "",
            stored_bytes=number(status.get("storedBytes")),
            fulls=tuple(
                (intern(text(point.get("backup"))), intern(text(point.get("full"))))
                for point in objects(status.get("restorePoints"))
            ),
            removed=tuple(
                Removed(text(one.get("backup")), number(one.get("storedBytes")), text(one.get("neededBy")))
                for one in objects(status.get("removed"))
            ),
            consolidation=Consolidation.from_object(obj),
        )


@dataclass(frozen=True, slots=True)
class CachedVM(CachedObject):
    """One ProtectedVM."""

    vm_name: str
    disks: int
    """Number of its disks; 0 until they are known."""
    vanished: bool
    """Whether vCenter does not have it any more; what is known of it is as it was then."""
    json: dict[str, Any]
    """Its JSON without its protection."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From a ProtectedVM. Raises KeyError without metadata."""
        shown = backup_view.vm_json(obj)
        vanished = bool(part(obj, "status").get("vanishedTime"))
        return cls(*_identity(obj), vm_name=shown["vm_name"], disks=len(shown["disks"]), vanished=vanished, json=shown)


@dataclass(frozen=True, slots=True)
class CachedRepository(CachedObject):
    """One BackupRepository."""

    policy: str
    """`spec.deletionPolicy`."""
    immutable_days: int
    """`spec.immutability.days`; 0: there is none."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From a BackupRepository. Raises KeyError without metadata."""
        spec = part(obj, "spec")
        days = number(part(spec, "immutability").get("days"))
        return cls(*_identity(obj), policy=text(spec.get("deletionPolicy")), immutable_days=days)


def encode(value: object) -> bytes:
    """JSON as it is sent."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _run(
    obj: Mapping[str, Any], shown: Mapping[str, Any]
) -> tuple[str, str, str, str, str, str, str, str, bool, bytes]:
    """Return the fields of a CachedRun. `shown`: its JSON."""
    known = (shown["vm_context_id"], shown["vm_name"], shown["repository_id"], shown["status"])
    vm, vm_name, repository, status = (intern(one or "") for one in known)
    return *_identity(obj), vm, vm_name, repository, status, backup_view.is_deleting(obj), encode(shown)


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str, str]:
    meta = obj["metadata"]
    return intern(meta["namespace"]), meta["name"], meta["uid"], meta.get("creationTimestamp") or ""
