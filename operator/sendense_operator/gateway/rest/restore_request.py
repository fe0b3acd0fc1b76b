"""From a request to restore to the Restore object. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sendense_operator.api.v1alpha1.restore import LATEST
from sendense_operator.cluster.kinds import RESTORE
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.machine_request import given, machine_target
from sendense_operator.gateway.rest.machine_schemas import VirtualMachine
from sendense_operator.gateway.rest.reserved_names import RESERVED_RESTORES, check_new_name
from sendense_operator.gateway.rest.restore_schemas import DiskTarget, FileRequest, NewClaim, RestoreRequest
from sendense_operator.restore_task import FileFormat
from sendense_operator.views.backup_view import COMPLETED, FAILED
from sendense_operator.views.cached_objects import CachedBackup
from sendense_operator.views.restore_view import LATEST_WORD

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_YEAR_2000: Final = datetime(2000, 1, 1, tzinfo=UTC)


def check_restore(request: RestoreRequest) -> None:
    """Raise RestError (400) for what the model can't say."""
    check_new_name("restore_id", request.restore_id, RESERVED_RESTORES)
    if request.backup_id:
        for name in ("vm_name", "vm_context_id", "repository_id", "at"):
            if getattr(request, name):
                raise RestError(400, f"{name} must be left out with backup_id")
    if request.at is not None:
        _check_time(request.at)
    _check_targets(request)


def _check_time(at: str) -> None:
    if at == LATEST_WORD:
        return
    try:
        fits = _TIME.fullmatch(at) is not None and datetime.fromisoformat(at) > _YEAR_2000
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        raise RestError(400, f"at must be {LATEST_WORD} or a time such as 2026-01-31T12:00:00Z")


def _check_targets(request: RestoreRequest) -> None:
    targets, disks = request.targets or [], request.disks or []
    _check_one_target(request)
    _check_unique("disks: disk", disks)
    _check_unique("targets: disk", [one.disk_id for one in targets])
    _check_unique("targets: claim", [one.claim_name for one in targets])
    for index, one in enumerate(targets):
        _check_modes(f"targets.{index}", one.create)
    if disks and targets:
        _check_covered(disks, [one.disk_id for one in targets])


_TARGETS: Final = ("targets", "virtual_machine", "file")
"""Fields of a request that say where the disks go, of which one is set."""


def _check_one_target(request: RestoreRequest) -> None:
    given = [name for name in _TARGETS if getattr(request, name)]
    if request.verify_only and given:
        raise RestError(400, f"{given[0]} must be left out with verify_only")
    if not request.verify_only and not given:
        raise RestError(400, f"one of {', '.join(_TARGETS)} is required without verify_only")
    if len(given) > 1:
        raise RestError(400, f"{given[0]} must be left out with {given[1]}")
    if request.virtual_machine is not None:
        _check_machine(request.virtual_machine)
    if request.file is not None:
        _check_file(request.file)


def _check_machine(machine: VirtualMachine) -> None:
    datastores = [one.datastore for one in machine.storage_classes or []]
    _check_unique("virtual_machine.storage_classes: datastore", datastores)
    _check_unique("virtual_machine.networks: network", [one.network for one in machine.networks or []])
    _check_unique("virtual_machine.access_modes:", machine.access_modes or [])


def _check_file(file: FileRequest) -> None:
    if file.hardware is not None and file.format != FileFormat.OVA:
        raise RestError(400, "file.hardware requires the format OVA")
    _check_modes("file", file.create)


def _check_modes(where: str, new: NewClaim | None) -> None:
    _check_unique(f"{where}.create.access_modes:", (new.access_modes if new else None) or [])


def _check_unique(what: str, values: Sequence[int] | Sequence[str]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise RestError(400, f"{what} {value} is there twice")


def _check_covered(disks: Iterable[int], targets: Iterable[int]) -> None:
    wanted, claimed = set(disks), set(targets)
    if missing := wanted - claimed:
        text = "each disk that is restored needs one; disks says which ones are"
        raise RestError(400, f"targets: no claim for disk {min(missing)}", text)
    if unwanted := claimed - wanted:
        raise RestError(400, f"targets: disk {min(unwanted)} is not restored", "disks does not contain it")


def check_backup(backup: CachedBackup, request: RestoreRequest) -> None:
    """Raise RestError for a backup that will never be a restore point (409), or that lacks a disk (400)."""
    if backup.deleting or backup.status == FAILED:
        state = "is being deleted" if backup.deleting else "failed, was cancelled or is lost"
        raise RestError(409, "backup_id is no restore point", f"Backup {backup.name} {state}")
    known = {layer.disk_index for layer in backup.layers}
    if backup.status != COMPLETED or not known:
        return
    named = (("disks", request.disks or []), ("targets", [one.disk_id for one in request.targets or []]))
    for field, indexes in named:
        if missing := set(indexes) - known:
            has = ", ".join(map(str, sorted(known)))
            text = f"Backup {backup.name} has the disks {has}"
            raise RestError(400, f"{field}: the backup has no disk {min(missing)}", text)
    if request.targets and not request.disks:
        _check_covered(known, [one.disk_id for one in request.targets])


def build_restore(request: RestoreRequest, namespace: str, name: str, vm: str) -> dict[str, Any]:
    """Return the Restore to create. `vm`: name of the ProtectedVM, used without a `backup_id`."""
    spec: dict[str, Any] = {"source": _source(request, vm)}
    if request.targets:
        spec["target"] = {"persistentVolumeClaims": [_claim(one) for one in request.targets]}
    if request.virtual_machine is not None:
        spec["target"] = {"virtualMachine": machine_target(request.virtual_machine)}
    if request.file is not None:
        spec["target"] = {"file": _file(request.file)}
    if request.verify_only:
        spec["verifyOnly"] = True
    if request.allow_damaged:
        spec["allowDamaged"] = True
    return {
        "apiVersion": RESTORE.api_version,
        "kind": RESTORE.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def _claim(target: DiskTarget) -> dict[str, Any]:
    return {"disk": target.disk_id, "claimName": target.claim_name, **_create(target.create)}


def _create(new: NewClaim | None) -> dict[str, Any]:
    if new is None:
        return {}
    wanted = {
        "storageClassName": new.storage_class_name,
        "accessModes": new.access_modes,
        "sizeBytes": new.size_bytes,
    }
    return {"create": given(wanted)}


def _file(file: FileRequest) -> dict[str, Any]:
    hardware: dict[str, Any] = {}
    if (wanted := file.hardware) is not None:
        fields = {
            "processors": wanted.processors,
            "memoryBytes": wanted.memory_bytes,
            "firmware": wanted.firmware,
            "scsiController": wanted.scsi_controller,
        }
        hardware = {"hardware": given(fields)}
    folder = {"folder": file.folder} if file.folder is not None else {}
    return {"claimName": file.claim_name, **_create(file.create), **folder, "format": file.format, **hardware}


def _source(request: RestoreRequest, vm: str) -> dict[str, Any]:
    disks: dict[str, Any] = {"disks": request.disks} if request.disks else {}
    if request.backup_id:
        return {"backupRef": {"name": request.backup_id}, **disks}
    at = LATEST if request.at in (None, LATEST_WORD) else request.at
    return {"vmRef": {"name": vm}, "repositoryRef": {"name": request.repository_id}, "at": at, **disks}
