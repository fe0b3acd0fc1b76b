"""How soon after a slot its Backups are created."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.support import manifests
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for
from tests.support.workspace import Workspace

from sendense_operator.api.v1alpha1 import names

COUNT: Final = 100
_POLICY: Final = "bench"
_LABELS: Final = {"bench": "policies"}
_SLOT: Final = re.compile(r"-([0-9]{12})-[0-9a-f]{8}$")


def lag(space: Workspace) -> dict[str, float]:
    """Return the 99th percentile of the seconds from a slot to the creation of its Backups, all due at once.

    The API server cuts fractions of creation times off, so a second is added to each: the figure is an upper bound.
    The Backups wait for an appliance that there is not, and fail soon: nothing is copied.
    """
    for number in range(COUNT):
        vm = manifests.protected_vm(f"lag-{number:03}", space.namespace, appliance="none", path=f"/DC1/vm/lag-{number}")
        vm["metadata"]["labels"] = _LABELS
        space.kube.create(vm)
    spec: dict[str, Any] = {
        "vmSelector": {"matchLabels": _LABELS},
        "schedules": [{"name": "minutes", "cron": "* * * * *"}],
        "startDeadlineSeconds": 5,
    }
    space.kube.create(manifests.backup_policy(_POLICY, space.namespace, vms=(), **spec))

    def created() -> list[Obj]:
        found = space.kube.select("Backup", space.namespace, labels=f"{names.LABEL_POLICY}={_POLICY}")
        until(len(found) >= COUNT, len(found))
        return found

    found = wait_for(f"{COUNT} Backups of a slot", created, timeout=120, interval=1.0)
    space.kube.delete("BackupPolicy", _POLICY, space.namespace)
    for number in range(COUNT):
        space.kube.delete("ProtectedVM", f"lag-{number:03}", space.namespace)
    lags = sorted(_lag(backup).total_seconds() for backup in found[:COUNT])
    return {"policy_lag_seconds": lags[math.ceil(0.99 * len(lags)) - 1]}


def _lag(backup: Obj) -> timedelta:
    match = _SLOT.search(backup["metadata"]["name"])
    if match is None:
        raise ValueError(f"Backup {backup['metadata']['name']} names no slot")
    slot = datetime.strptime(match[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
    created = datetime.fromisoformat(backup["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    return created - slot + timedelta(seconds=1)
