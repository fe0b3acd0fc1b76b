"""Keeps records of objects for the metrics, as the controller's watches do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.objects import Obj

from sendense_operator.controller.metrics.appliance_series import ApplianceRecord
from sendense_operator.controller.metrics.backup_series import BackupRecord
from sendense_operator.controller.metrics.chain_series import ChainRecord
from sendense_operator.controller.metrics.policy_series import PolicyRecord
from sendense_operator.controller.metrics.repository_series import RepositoryRecord
from sendense_operator.controller.metrics.restore_series import RestoreRecord
from sendense_operator.controller.metrics.state_records import RecordStore
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.controller.metrics.vm_series import VMRecord


def record(state: StateStores, kind: str, obj: Obj, *, deleted: bool = False) -> None:
    """Keep a record of the object, or forget it; of other kinds there are none."""
    stores: dict[str, tuple[RecordStore[Any], Callable[[Obj], Any]]] = {
        "Backup": (state.backups, BackupRecord.of),
        "BackupChain": (state.chains, ChainRecord.of),
        "BackupPolicy": (state.policies, PolicyRecord.of),
        "BackupRepository": (state.repositories, RepositoryRecord.of),
        "ProtectedVM": (state.vms, VMRecord.of),
        "Restore": (state.restores, RestoreRecord.of),
        "VMwareAppliance": (state.appliances, ApplianceRecord.of),
    }
    if kind not in stores:
        return
    store, read = stores[kind]
    if deleted:
        store.remove(obj["metadata"]["uid"])
    else:
        store.put(read(obj))
