"""A Backup and a ProtectedVM as the old clients know them. Pure; reads what it is given with distrust.

Everything in here is total: an object that lacks a field, as one of an older version does, gives a poorer answer,
never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.conditions import READY, find, is_true
from sendense_operator.views.tags import policy_of, tags_of

Json = dict[str, Any]

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"

_STATES: Final[Mapping[str, str]] = {
    Phase.PENDING: PENDING,
    Phase.RUNNING: RUNNING,
    Phase.COMPLETED: COMPLETED,
    Phase.FAILED: FAILED,
    Phase.CANCELLED: FAILED,
    Phase.LOST: FAILED,
}
_DELETING: Final = "deleting"


def backup_json(obj: Mapping[str, Any], vm_name: str = "") -> Json:
    """Return the JSON of a Backup object. `vm_name`: VMware's name, used until the Backup itself says it."""
    meta, spec, status = part(obj, "metadata"), part(obj, "spec"), part(obj, "status")
    progress, disks = part(status, "progress"), disks_of(status)
    first = disks[0] if disks else {}
    vm = text(part(spec, "vmRef").get("name"))
    state, kind = state_of(obj), type_of(spec, status)
    return {
        "backup_id": text(meta.get("name")),
        "vm_context_id": vm,
        "vm_name": text(status.get("vmName")) or vm_name or vm,
        "disk_id": 0,
        "backup_type": kind,
        "type": kind,
        "repository_id": text(part(spec, "repositoryRef").get("name")),
        "policy_id": policy_of(meta),
        "status": state,
        "file_path": some(first.get("file")),
        "bytes_transferred": number(progress.get("bytesTransferred")),
        "total_bytes": number(progress.get("totalBytes")) or sum(number(disk.get("virtualSize")) for disk in disks),
        "change_id": some(first.get("changeID")),
        "error_message": reason_of(status) if state == FAILED else None,
        "created_at": moment(meta.get("creationTimestamp")),
        "started_at": moment(status.get("startTime")),
        "completed_at": moment(status.get("completionTime")),
        "tags": tags_of(meta),
        **_several(status, disks, state),
        **running_json(obj, state),
    }


def state_of(obj: Mapping[str, Any]) -> str:
    """Return the old system's word for the phase of a Backup or a Restore; one that is being deleted keeps its own."""
    status = part(obj, "status")
    known = _STATES.get(text(status.get("phase")))
    if known is not None:
        return known
    if not is_deleting(obj):
        return PENDING
    if status.get("completionTime"):
        return COMPLETED if status.get("manifest") else FAILED
    return RUNNING if status.get("startTime") else PENDING


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """Return whether the object is on its way out."""
    return bool(part(obj, "metadata").get("deletionTimestamp")) or part(obj, "status").get("phase") == Phase.DELETING


def type_of(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return what ran, or what was asked for. Auto is an incremental until it is known to be none."""
    kind = text(status.get("type")) or text(spec.get("type")) or "Full"
    return "full" if kind == "Full" else "incremental"


def disks_of(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the disks in device order."""
    return sorted(objects(status.get("disks")), key=lambda disk: number(disk.get("id")))


def _several(status: Mapping[str, Any], disks: Sequence[Mapping[str, Any]], state: str) -> Json:
    if len(disks) < 2:
        return {}
    uid = names.pod_uid_of_job(text(status.get("jobID")))
    return {"disks_count": len(disks), "disk_results": [_disk(disk, uid, status, state) for disk in disks]}


def _disk(disk: Mapping[str, Any], uid: str | None, status: Mapping[str, Any], state: str) -> Json:
    index = number(disk.get("id"))
    return {
        "disk_id": index,
        "nbd_port": names.NBD_BASE_PORT + index if uid else None,
        "nbd_export_name": names.export_name(uid, index) if uid else None,
        "qcow2_path": some(disk.get("file")),
        "status": disk_state(state, begun=bool(number(disk.get("bytesTransferred")) or number(disk.get("percent")))),
        "error_message": reason_of(status) if state == FAILED else None,
    }


def disk_state(state: str, *, begun: bool) -> str:
    """Return a disk's state: all end together, so a disk that is done is running as long as the others are."""
    return PENDING if state == RUNNING and not begun else state


def running_json(obj: Mapping[str, Any], state: str) -> Json:
    """Return the fields that a Backup or a Restore has only while it runs or is being deleted."""
    status = part(obj, "status")
    progress = part(status, "progress")
    deleting = {"current_phase": _DELETING} if is_deleting(obj) else {}
    if state != RUNNING:
        return deleting
    return {
        "current_phase": text(status.get("stage")).lower() or None,
        "transfer_speed_bps": number(progress.get("rateBytesPerSecond")),
        "progress_percent": min(100, number(progress.get("percent"))),
        "last_telemetry_at": moment(progress.get("lastUpdateTime")),
        **deleting,
    }


def reason_of(status: Mapping[str, Any]) -> str:
    """Return the Ready condition in words."""
    ready = find(objects(status.get("conditions")), READY) or {}
    reason, message = text(ready.get("reason")), text(ready.get("message")) or text(status.get("message"))
    return ": ".join(word for word in (reason, message) if word) or text(status.get("phase"))


def vm_json(obj: Mapping[str, Any]) -> Json:
    """Return the JSON of a ProtectedVM, without its protection."""
    meta, spec, status = part(obj, "metadata"), part(obj, "spec"), part(obj, "status")
    name = text(meta.get("name"))
    ready = is_true(objects(status.get("conditions")), READY)
    disks = vm_disks(status)
    cbt = status.get("cbtEnabled")
    return {
        "vm_context_id": name,
        "vm_name": vm_name_of(obj),
        "vm_path": text(spec.get("path")),
        "appliance_id": text(part(spec, "applianceRef").get("name")),
        "power_state": some(status.get("powerState")),
        "cbt_enabled": cbt if isinstance(cbt, bool) else None,
        "total_bytes": number(status.get("totalBytes")),
        "disks": disks,
        "ready": ready,
        "message": None if ready else reason_of(status) or "vCenter has not been queried yet",
    }


def vm_disks(status: Mapping[str, Any]) -> list[Json]:
    """Return the disks that vCenter named, in device order."""
    return [
        {
            "disk_id": number(disk.get("index")),
            "label": text(disk.get("label")),
            "capacity_bytes": number(disk.get("virtualSize")),
        }
        for disk in sorted(objects(status.get("disks")), key=lambda disk: number(disk.get("index")))
    ]


def vm_name_of(obj: Mapping[str, Any]) -> str:
    """VMware's name of a ProtectedVM; its own until vCenter was asked."""
    return text(part(obj, "status").get("vmName")) or text(part(obj, "metadata").get("name"))


def objects(value: object) -> list[Mapping[str, Any]]:
    """Return the objects in a list; none if it is no list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def moment(value: object) -> str | None:
    """Return a time in RFC 3339 with Z, seconds as fine as they came; None for none."""
    if not isinstance(value, str) or not value:
        return None
    if value.endswith("Z"):
        return value
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        return None


def text(value: object) -> str:
    """Return the value if it is text, else none."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """Return the value if it is a count, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def some(value: object) -> str | None:
    """Return the value if it is text with something in it, else None."""
    return text(value) or None


def part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that is an object; empty if it is none."""
    found = obj.get(name)
    return found if isinstance(found, Mapping) else {}
