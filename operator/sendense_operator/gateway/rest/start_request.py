"""From a start request to the Backup object. Pure."""

from __future__ import annotations

from typing import Any, Final

from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.reserved_names import RESERVED_BACKUPS, check_new_name
from sendense_operator.gateway.rest.schemas import StartRequest
from sendense_operator.views.cached_objects import CachedVM
from sendense_operator.views.tags import is_tag_key, metadata_of

_TYPES: Final = {"full": "Full", "incremental": "Incremental"}


def check_request(request: StartRequest) -> None:
    """Raise RestError (400) for what the model can't say."""
    check_new_name("backup_id", request.backup_id, RESERVED_BACKUPS)
    for key in request.tags or {}:
        if not is_tag_key(key):
            raise RestError(
                400, "tags has a name that cannot be kept",
                f"{key[:100]!r}: use letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends",
            )  # fmt: skip


def check_disk(vm: CachedVM, disk_index: int | None) -> None:
    """Raise RestError (400) unless a backup of the whole VM is one of that disk alone."""
    if disk_index is None:
        return
    if vm.disks == 0:
        raise RestError(400, "disk_id is not possible yet", f"the disks of {vm.name} are not known yet: leave it out")
    if disk_index >= vm.disks:
        raise RestError(400, f"disk_id must be at most {vm.disks - 1}", f"{vm.name} has {vm.disks} disks")
    if vm.disks > 1:
        raise RestError(
            400, "disk_id is not possible for a VM with several disks",
            f"the appliance always copies all {vm.disks} disks of {vm.name} together: leave disk_id out",
        )  # fmt: skip


def build_backup(request: StartRequest, namespace: str, name: str, vm: str) -> dict[str, Any]:
    """Return the Backup to create."""
    return {
        "apiVersion": BACKUP.api_version,
        "kind": BACKUP.kind,
        "metadata": {"namespace": namespace, "name": name, **metadata_of(request.tags or {}, request.policy_id)},
        "spec": {
            "vmRef": {"name": vm},
            "repositoryRef": {"name": request.repository_id},
            "type": _TYPES[request.backup_type],
        },
    }
