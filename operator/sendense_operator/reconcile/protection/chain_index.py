"""The newest usable restore point of each chain, in memory: no check of a VM's protection lists anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sendense_operator.api.v1alpha1.backupchain import PointState
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.formatting import parse_time
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


class ChainIndex:
    """Chains by VM; see `informer.Index`. `on_change` receives the chain of which something changed or that is gone."""

    def __init__(self, on_change: Callable[[ChainEntry], None]) -> None:
        self._on_change = on_change
        self._all: dict[str, ChainEntry] = {}
        self._vms: dict[tuple[str, str], dict[str, ChainEntry]] = {}

    def of_vm(self, namespace: str, vm: str) -> list[ChainEntry]:
        """Return the chains of a VM, in all repositories."""
        return list(self._vms.get((namespace, vm), {}).values())

    def find(self, namespace: str, key: ChainKey) -> ChainEntry | None:
        """Return the chain of a VM in a repository."""
        return self._vms.get((namespace, key.vm), {}).get(key.repository)

    def put(self, item: ChainEntry) -> bool:
        """Add or replace one. Returns whether anything changed."""
        if self._all.get(item.uid) == item:
            return False
        self._all[item.uid] = item
        self._vms.setdefault((item.namespace, item.key.vm), {})[item.key.repository] = item
        self._on_change(item)
        return True

    def remove(self, uid: str) -> bool:
        """Forget one. Returns whether it was there."""
        item = self._all.pop(uid, None)
        if item is None:
            return False
        place = item.namespace, item.key.vm
        chains = self._vms.get(place, {})
        # A new object of the name may have been seen before the end of the old one.
        if (there := chains.get(item.key.repository)) is not None and there.uid == uid:
            del chains[item.key.repository]
            if not chains:
                del self._vms[place]
        self._on_change(item)
        return True

    def replace(self, items: Iterable[ChainEntry], namespace: str | None) -> None:
        """Take a fresh list of one namespace, or (None) of all."""
        missing = {uid for uid, item in self._all.items() if namespace in (None, item.namespace)}
        for item in items:
            missing.discard(item.uid)
            self.put(item)
        for uid in missing:
            self.remove(uid)
