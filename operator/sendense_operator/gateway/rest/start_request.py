"""From a start request to the Backup object. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from sendense_operator.cluster.kinds import BACKUP
from sendense_operator.gateway.rest.cached_objects import CachedVM
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.schemas import StartRequest
from sendense_operator.gateway.rest.tags import is_tag_key, metadata_of

RESERVED: Final = frozenset({"start", "list", "chain"})
"""Words that stand where an id stands in a path: never taken for one."""
_TYPES: Final = {"full": "Full", "incremental": "Incremental"}
_MAX_NAME: Final = 63


def check_request(request: StartRequest) -> None:
    """Raise RestError (400) for what the model can't say."""
    if request.backup_id in RESERVED:
        raise RestError(400, f"backup_id must be none of: {', '.join(sorted(RESERVED))}")
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


def backup_name(vm: str, now: datetime, token: str) -> str:
    """Return a name for a new Backup: VM, time in UTC, five random characters. `token`: those, of a-z and 0-9."""
    tail = f"-{now:%Y%m%d-%H%M%S}-{token[:5]}"
    head = re.sub(r"[^a-z0-9-]", "-", vm.lower())[: _MAX_NAME - len(tail)].strip("-")
    return f"{head or 'backup'}{tail}"


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
