"""The newest usable restore point of each chain, in memory: no check of a VM's protection lists anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sendense_operator.api.v1alpha1.backupchain import PointState
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.reconcile.protection.uid_index import UidIndex
from sendense_operator.reconcile.state.keys import ChainKey


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """What is kept of a BackupChain."""

    uid: str
    namespace: str
    key: ChainKey
    backup: str | None = None
    """Name of the newest usable restore point's Backup; None: the chain has no usable one."""
    time: datetime | None = None
    """When the content of that restore point was taken."""
    damaged: bool = False
    """Whether the newest restore point is damaged."""

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a BackupChain. Raises KeyError and ValueError for what can't be one."""
        meta, status = obj["metadata"], obj.get("status") or {}
        backup, time = status.get("latestUsableBackup"), parse_time(status.get("latestUsableTime"))
        if backup is None:
            backup, time = _from_earlier_version(status)
        latest = status.get("latestBackup")
        return cls(meta["uid"], meta["namespace"], ChainKey.of(obj), backup, time, latest not in (None, backup))


def _from_earlier_version(status: dict[str, Any]) -> tuple[str | None, datetime | None]:
    """Return the newest usable point of a status that does not say it by itself, until the chain is checked again."""
    for point in reversed(status.get("restorePoints") or []):
        if point.get("state", PointState.AVAILABLE) == PointState.AVAILABLE:
            return point["backup"], parse_time(point["time"])
    return None, None


class ChainIndex(UidIndex[ChainEntry]):
    """Chains by VM."""

    def __init__(self, on_change: Callable[[ChainEntry], None]) -> None:
        super().__init__(on_change)
        self._vms: dict[tuple[str, str], dict[str, ChainEntry]] = {}

    def of_vm(self, namespace: str, vm: str) -> list[ChainEntry]:
        """Return the chains of a VM, in all repositories."""
        return list(self._vms.get((namespace, vm), {}).values())

    def find(self, namespace: str, key: ChainKey) -> ChainEntry | None:
        """Return the chain of a VM in a repository."""
        return self._vms.get((namespace, key.vm), {}).get(key.repository)

    def _add(self, item: ChainEntry) -> None:
        self._vms.setdefault((item.namespace, item.key.vm), {})[item.key.repository] = item

    def _drop(self, item: ChainEntry) -> None:
        place = item.namespace, item.key.vm
        chains = self._vms.get(place, {})
        if (there := chains.get(item.key.repository)) is not None and there.uid == item.uid:
            del chains[item.key.repository]
            if not chains:
                del self._vms[place]
