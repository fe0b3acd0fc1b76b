"""What the gateway remembers of each object: what is asked for, and a Backup's JSON as it is sent. Pure.

A Backup object with its managed fields is some 20 KB of Python objects; a record is about 2 KB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Self

from sendense_operator.gateway.rest import backup_view
from sendense_operator.gateway.rest.backup_view import number, objects, part, text


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
class CachedBackup(CachedObject):
    """One Backup."""

    vm: str
    vm_name: str
    repository: str
    type: str
    status: str
    completed: str
    deleting: bool
    policy: str
    """`spec.deletionPolicy`; empty: as the repository says."""
    stored_bytes: int
    layers: tuple[Layer, ...]
    body: bytes
    """Its JSON."""

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
            *_identity(obj),
            vm=intern(shown["vm_context_id"]),
            vm_name=intern(shown["vm_name"]),
            repository=intern(shown["repository_id"]),
            type=intern(shown["type"]),
            status=intern(shown["status"]),
            completed=shown["completed_at"] or "",
            deleting=backup_view.is_deleting(obj),
            policy=intern(text(part(obj, "spec").get("deletionPolicy"))),
            stored_bytes=number(status.get("storedBytes")),
            layers=tuple(_layer(disk) for disk in backup_view.disks_of(status)),
            body=encode(shown),
        )


def _layer(disk: Mapping[str, Any]) -> Layer:
    return Layer(
        number(disk.get("id")), text(disk.get("parent")), text(disk.get("file")), number(disk.get("storedBytes"))
    )


@dataclass(frozen=True, slots=True)
class Removed:
    """A restore point whose Backup was deleted, and whose layers are still there."""

    backup: str
    stored_bytes: int
    needed_by: str


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

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """From a BackupRepository. Raises KeyError without metadata."""
        return cls(*_identity(obj), policy=text(part(obj, "spec").get("deletionPolicy")))


def encode(value: object) -> bytes:
    """JSON as it is sent."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str, str]:
    meta = obj["metadata"]
    return intern(meta["namespace"]), meta["name"], meta["uid"], meta.get("creationTimestamp") or ""
