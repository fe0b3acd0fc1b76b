"""A Restore in the words of the backups' JSON. Pure and total, as `backup_view` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sendense_operator.api.v1alpha1.restore import LATEST
from sendense_operator.views.backup_view import (
    FAILED,
    RUNNING,
    Json,
    disk_state,
    moment,
    number,
    objects,
    part,
    reason_of,
    running_json,
    some,
    state_of,
    text,
)

LATEST_WORD: Final = LATEST.lower()
"""Value of `at` for the newest restore point."""


@dataclass(frozen=True, slots=True)
class KnownSource:
    """What other objects say about the source of a Restore; empty where they say nothing."""

    vm: str = ""
    """Name of the ProtectedVM of the Backup that the spec names."""
    vm_name: str = ""
    """VMware's name of the VM."""
    repository: str = ""
    """Repository of that Backup."""


NOTHING_KNOWN: Final = KnownSource()


def backup_of(obj: Mapping[str, Any]) -> str:
    """Return the name of the Backup that is restored; empty until one is chosen."""
    return text(_point(obj).get("backupName")) or text(part(_source(obj), "backupRef").get("name"))


def vm_of(obj: Mapping[str, Any]) -> str:
    """Return the name of the ProtectedVM; empty where the Restore itself does not say it yet."""
    return text(_point(obj).get("vmName")) or text(part(_source(obj), "vmRef").get("name"))


def restore_json(obj: Mapping[str, Any], known: KnownSource = NOTHING_KNOWN) -> Json:
    """Return the JSON of a Restore object."""
    meta, spec, status = part(obj, "metadata"), part(obj, "spec"), part(obj, "status")
    progress, disks, source = part(status, "progress"), _disks(status), _source(obj)
    state, vm = state_of(obj), vm_of(obj) or known.vm
    repository = text(_point(obj).get("repositoryName")) or text(part(source, "repositoryRef").get("name"))
    return {
        "restore_id": text(meta.get("name")),
        "backup_id": backup_of(obj) or None,
        "vm_context_id": vm or None,
        "vm_name": known.vm_name or vm or None,
        "repository_id": repository or known.repository or None,
        "at": _at(source),
        "restore_point_at": moment(_point(obj).get("time")),
        "disks": [one for one in _list(source.get("disks")) if _is_index(one)],
        "targets": _targets(spec),
        "virtual_machine": some(part(part(spec, "target"), "virtualMachine").get("name")),
        "file": _file(spec),
        "verify_only": spec.get("verifyOnly") is True,
        "allow_damaged": spec.get("allowDamaged") is True,
        "status": state,
        "bytes_processed": number(progress.get("processedBytes")),
        "total_bytes": number(progress.get("totalBytes")) or sum(number(disk.get("virtualSize")) for disk in disks),
        "damaged_bytes": sum(number(disk.get("damagedBytes")) for disk in disks),
        "message": reason_of(status) or None,
        "error_message": reason_of(status) if state == FAILED else None,
        "created_at": moment(meta.get("creationTimestamp")),
        "started_at": moment(status.get("startTime")),
        "completed_at": moment(status.get("completionTime")),
        "disk_results": [_disk(disk, state) for disk in disks],
        **running_json(obj, state),
        **({"eta_seconds": _count(progress.get("etaSeconds"))} if state == RUNNING else {}),
    }


def _disk(disk: Mapping[str, Any], state: str) -> Json:
    done, percent = number(disk.get("processedBytes")), min(100, number(disk.get("percent")))
    return {
        "disk_id": number(disk.get("index")),
        "claim_name": some(disk.get("claimName")),
        "file": some(disk.get("file")),
        "status": disk_state(state, begun=bool(done or percent)),
        "total_bytes": number(disk.get("virtualSize")),
        "bytes_processed": done,
        "progress_percent": percent,
        "data_bytes": _count(disk.get("dataBytes")),
        "bytes_written": _count(disk.get("writtenBytes")),
        "damaged_bytes": number(disk.get("damagedBytes")),
        "damaged": [
            {"offset": number(place.get("offset")), "length": number(place.get("length"))}
            for place in objects(disk.get("damaged"))
        ],
    }


def _disks(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(objects(status.get("disks")), key=lambda disk: number(disk.get("index")))


def _source(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return part(part(obj, "spec"), "source")


def _point(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return part(part(obj, "status"), "restorePoint")


def _at(source: Mapping[str, Any]) -> str | None:
    at = text(source.get("at"))
    return LATEST_WORD if at == LATEST else some(at)


def _targets(spec: Mapping[str, Any]) -> list[Json]:
    claims = objects(part(spec, "target").get("persistentVolumeClaims"))
    return [
        {
            "disk_id": number(one.get("disk")),
            "claim_name": text(one.get("claimName")),
            "create": isinstance(one.get("create"), Mapping),
        }
        for one in claims
    ]


def _file(spec: Mapping[str, Any]) -> Json | None:
    file = part(part(spec, "target"), "file")
    if not file:
        return None
    return {
        "format": text(file.get("format")),
        "claim_name": text(file.get("claimName")),
        "folder": some(file.get("folder")),
        "create": isinstance(file.get("create"), Mapping),
    }


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count(value: object) -> int | None:
    """Return the value if it is a count, else None: a 0 says something."""
    return number(value) if isinstance(value, int) else None
