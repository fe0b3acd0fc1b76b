"""Follows the kinds of which there are tens of thousands: Backups and their chains.

kopf keeps some kilobytes and, after a list, a task and the whole body of each object that it watches. Here a list is
read in pages, each object is turned into keys at once, and what stays in memory is what its deletion has to wake.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.informer import Mirror
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_POLICY, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.handlers import Add, keys_of_backup, keys_of_chain, settling_s
from sendense_operator.controller.pacing import Pacer
from sendense_operator.reconcile.protection.chain_index import ChainEntry, ChainIndex
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry
from sendense_operator.reconcile.state.keys import Key

KeysOf = Callable[[str | None, Any], list[Key]]
"""The keys that an event concerns, by its type (None: the object was listed) and the object."""
DelayOf = Callable[[Key, str | None, Any], float]
Due = tuple[tuple[Key, float], ...]
"""Keys, each with the seconds that it can wait."""


@dataclass(frozen=True, slots=True)
class ObservedObject:
    """An object, as far as it matters to the work queue."""

    uid: str
    namespace: str
    listed: Due
    """When it is new here."""
    changed: Due
    gone: tuple[Key, ...]
    """When it is deleted."""


def read(keys_of: KeysOf, delay_of: DelayOf, obj: Obj) -> ObservedObject:
    """Return what is kept of an object. Raises KeyError for what can't be one."""

    def due(event: str | None) -> Due:
        return tuple((key, delay_of(key, event, obj)) for key in keys_of(event, obj))

    meta = obj["metadata"]
    gone = tuple(Key(key.work, sys.intern(key.namespace), sys.intern(key.name)) for key in keys_of("DELETED", obj))
    return ObservedObject(meta["uid"], sys.intern(meta["namespace"]), due(None), due("MODIFIED"), gone)


class Waker:
    """The index of a Mirror: adds the keys of what is new, changed or gone to the work queue."""

    def __init__(self, add: Add, pacer: Pacer | None = None) -> None:
        self._add = add
        self._pacer = pacer or Pacer()
        self._there: dict[str, tuple[str, tuple[Key, ...]]] = {}

    def __len__(self) -> int:
        return len(self._there)

    def put(self, seen: ObservedObject) -> bool:
        """See `informer.Index`."""
        due = seen.changed if seen.uid in self._there else seen.listed
        self._there[seen.uid] = (seen.namespace, seen.gone)
        for key, delay in due:
            self._add(key, self._pacer.wait(key, delay))
        return True

    def remove(self, uid: str) -> bool:
        """See `informer.Index`."""
        _, keys = self._there.pop(uid, ("", ()))
        for key in keys:
            self._add(key, 0.0)
        return bool(keys)

    def replace(self, items: Iterable[ObservedObject], namespace: str | None) -> None:
        """See `informer.Index`. What is missing in a fresh list was deleted unseen."""
        missing = {uid for uid, (of, _) in self._there.items() if namespace in (None, of)}
        for seen in items:
            missing.discard(seen.uid)
            self._there.pop(seen.uid, None)
            self.put(seen)
        for uid in missing:
            self.remove(uid)


ObservedChain = tuple[ObservedObject, ChainEntry]


class ChainFollower:
    """The index of the Mirror of BackupChains: they wake what they concern, and their newest points are kept."""

    def __init__(self, waker: Waker, chains: ChainIndex) -> None:
        self._waker = waker
        self._chains = chains

    @staticmethod
    def read(obj: Obj) -> ObservedChain:
        """Return what is kept of a BackupChain. Raises KeyError and ValueError for what can't be one."""
        return read(keys_of_chain, lambda *_: 0.0, obj), ChainEntry.of(obj)

    def put(self, item: ObservedChain) -> bool:
        """See `informer.Index`."""
        seen, entry = item
        self._chains.put(entry)
        return self._waker.put(seen)

    def remove(self, uid: str) -> bool:
        """See `informer.Index`."""
        self._chains.remove(uid)
        return self._waker.remove(uid)

    def replace(self, items: Iterable[ObservedChain], namespace: str | None) -> None:
        """See `informer.Index`."""
        listed = list(items)
        self._waker.replace((seen for seen, _ in listed), namespace)
        self._chains.replace((entry for _, entry in listed), namespace)


class Follower:
    """Follows Backups, BackupChains and what policies choose from, in some namespaces (none given: in all)."""

    def __init__(self, cluster: KubernetesCluster, add: Add, namespaces: tuple[str, ...]) -> None:
        self.protection = ProtectionIndex(add, synced=lambda: all(mirror.synced for mirror in self._indexed))
        chains = ChainFollower(Waker(add), self.protection.chains)
        self._indexed: list[Mirror[Any]] = [
            Mirror(cluster.api, PROTECTED_VM, self.protection.vms, VMEntry.of, namespaces),
            Mirror(cluster.api, BACKUP_POLICY, self.protection.policies, PolicyEntry.of, namespaces),
            Mirror(cluster.api, BACKUP_CHAIN, chains, ChainFollower.read, namespaces),
        ]
        self._backups = Mirror[ObservedObject](
            cluster.api, BACKUP, Waker(add), partial(read, keys_of_backup, settling_s), namespaces
        )

    @property
    def synced(self) -> bool:
        """Whether all were listed once."""
        return all(mirror.synced for mirror in (self._backups, *self._indexed))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (self._backups, *self._indexed):
                group.create_task(mirror.run())
