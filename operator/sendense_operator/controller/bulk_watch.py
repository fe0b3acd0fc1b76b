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
from typing import Any, Generic, TypeVar

from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.informer import Index, Mirror
from sendense_operator.cluster.kinds import (
    APPLIANCE,
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    PROTECTED_VM,
    RESTORE,
    Kind,
)
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.handlers import Add, keys_of_backup, keys_of_chain, settling_s
from sendense_operator.controller.metrics.appliance_series import ApplianceRecord
from sendense_operator.controller.metrics.backup_series import BackupRecord
from sendense_operator.controller.metrics.chain_series import ChainRecord
from sendense_operator.controller.metrics.policy_series import PolicyRecord
from sendense_operator.controller.metrics.repository_series import RepositoryRecord
from sendense_operator.controller.metrics.restore_series import RestoreRecord
from sendense_operator.controller.metrics.state_records import Record, RecordStore
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.controller.metrics.vm_series import VMRecord
from sendense_operator.controller.pacing import Pacer
from sendense_operator.reconcile.protection.chain_index import ChainEntry, ChainIndex
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry
from sendense_operator.reconcile.state.keys import Key

KeysOf = Callable[[str | None, Any], list[Key]]
"""The keys that an event concerns, by its type (None: the object was listed) and the object."""
DelayOf = Callable[[Key, str | None, Any], float]
T = TypeVar("T")
R = TypeVar("R", bound=Record)
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


class Recorded(Generic[T, R]):
    """The index of a Mirror whose objects are also kept for the metrics."""

    def __init__(self, index: Index[T], read: Callable[[Obj], T], store: RecordStore[R], record: Callable[[Obj], R]):
        self._index = index
        self._read = read
        self._store = store
        self._record = record

    def read(self, obj: Obj) -> tuple[T, R]:
        """Return what is kept of an object. Raises KeyError and ValueError for what can't be one."""
        return self._read(obj), self._record(obj)

    def put(self, item: tuple[T, R]) -> bool:
        """See `informer.Index`."""
        seen, record = item
        self._store.put(record)
        return self._index.put(seen)

    def remove(self, uid: str) -> bool:
        """See `informer.Index`."""
        self._store.remove(uid)
        return self._index.remove(uid)

    def replace(self, items: Iterable[tuple[T, R]], namespace: str | None) -> None:
        """See `informer.Index`."""
        listed = list(items)
        self._store.replace((record for _, record in listed), namespace)
        self._index.replace((seen for seen, _ in listed), namespace)


class Follower:
    """Follows all of our kinds in some namespaces (none given: in all).

    Backups and chains wake what they concern; VMs, policies and chains are what policies choose from; of each object
    is kept what the metrics say of it.
    """

    def __init__(self, cluster: KubernetesCluster, add: Add, namespaces: tuple[str, ...]) -> None:
        self.protection = ProtectionIndex(add, synced=lambda: all(mirror.synced for mirror in self._indexed))
        self.state = state = StateStores()

        def mirror(kind: Kind, index: Recorded[T, R]) -> Mirror[tuple[T, R]]:
            return Mirror(cluster.api, kind, index, index.read, namespaces)

        known, chains = self.protection, ChainFollower(Waker(add), self.protection.chains)
        self._indexed: list[Mirror[Any]] = [
            mirror(PROTECTED_VM, Recorded(known.vms, VMEntry.of, state.vms, VMRecord.of)),
            mirror(BACKUP_POLICY, Recorded(known.policies, PolicyEntry.of, state.policies, PolicyRecord.of)),
            mirror(BACKUP_CHAIN, Recorded(chains, ChainFollower.read, state.chains, ChainRecord.of)),
        ]
        read_backup = partial(read, keys_of_backup, settling_s)
        self._mirrors: list[Mirror[Any]] = [
            mirror(BACKUP, Recorded(Waker(add), read_backup, state.backups, BackupRecord.of)),
            *self._indexed,
            Mirror(cluster.api, BACKUP_REPOSITORY, state.repositories, RepositoryRecord.of, namespaces),
            Mirror(cluster.api, APPLIANCE, state.appliances, ApplianceRecord.of, namespaces),
            Mirror(cluster.api, RESTORE, state.restores, RestoreRecord.of, namespaces),
        ]

    @property
    def synced(self) -> bool:
        """Whether all were listed once."""
        return all(mirror.synced for mirror in self._mirrors)

    @property
    def age_s(self) -> float:
        """Seconds since the API server was heard of, by the watch for which that is longest; inf before `synced`."""
        return max(mirror.age_s for mirror in self._mirrors)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors:
                group.create_task(mirror.run())
