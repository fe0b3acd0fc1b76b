"""The one copy in memory that all requests read: list and watch of five kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sendense_operator.cluster.informer import Mirror
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY, PROTECTED_VM, RESTORE, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.gateway.rest.record_store import Store
from sendense_operator.views.backup_view import part, text
from sendense_operator.views.cached_objects import (
    CachedBackup,
    CachedChain,
    CachedRepository,
    CachedRestore,
    CachedVM,
)
from sendense_operator.views.restore_view import KnownSource, backup_of, vm_of

STALE_S: Final = 90.0
"""Nothing heard of the API server for so long (a watch lasts 30): what is remembered is no answer any more."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What is remembered."""

    backups: Store[CachedBackup] = field(default_factory=lambda: Store(newest_first=True))
    restores: Store[CachedRestore] = field(default_factory=lambda: Store(newest_first=True))
    chains: Store[CachedChain] = field(default_factory=Store)
    vms: Store[CachedVM] = field(default_factory=Store)
    repositories: Store[CachedRepository] = field(default_factory=Store)

    def read_backup(self, obj: Obj) -> CachedBackup:
        """Return a Backup's record, with VMware's name of its VM while the Backup doesn't say it itself."""
        vm = self.vms.get(
            text(part(obj, "metadata").get("namespace")), text(part(part(obj, "spec"), "vmRef").get("name"))
        )
        return CachedBackup.from_object(obj, vm.vm_name if vm else "")

    def read_restore(self, obj: Obj) -> CachedRestore:
        """Return a Restore's record, with what its Backup and its VM say that it does not say itself."""
        namespace = text(part(obj, "metadata").get("namespace"))
        backup = self.backups.get(namespace, backup_of(obj))
        name = vm_of(obj) or (backup.vm if backup else "")
        vm = self.vms.get(namespace, name)
        # the Backup's too where the ProtectedVM is gone
        vm_name = vm.vm_name if vm else backup.vm_name if backup else ""
        return CachedRestore.from_object(obj, KnownSource(name, vm_name, backup.repository if backup else ""))


class Freshness(Protocol):
    """Whether the stores say what is."""

    @property
    def age_s(self) -> float:
        """Seconds since the API server was last heard of; inf before everything was listed."""
        ...

    async def until(self, kind: Kind, condition: Callable[[], bool], limit_s: float) -> None:
        """Return when the condition on the records of a kind (Backups, Restores) holds, or after `limit_s`."""
        ...


def trouble(freshness: Freshness) -> str:
    """Return why the stores are no answer; empty when they are."""
    if freshness.age_s == float("inf"):
        return "the resources are not listed yet"
    if freshness.age_s > STALE_S:
        return f"nothing was heard of it for {freshness.age_s:.0f} s"
    return ""


class Mirrors:
    """Keeps the stores up to date. Run `run` in a task of its own."""

    def __init__(self, api: Any, stores: Stores, namespaces: Sequence[str] = ()) -> None:
        self._vms: Mirror[Any] = Mirror(api, PROTECTED_VM, stores.vms, CachedVM.from_object, namespaces)
        self._backups: Mirror[Any] = Mirror(api, BACKUP, stores.backups, stores.read_backup, namespaces)
        self._restores: Mirror[Any] = Mirror(api, RESTORE, stores.restores, stores.read_restore, namespaces)
        self._others: tuple[Mirror[Any], ...] = (
            Mirror(api, BACKUP_CHAIN, stores.chains, CachedChain.from_object, namespaces),
            Mirror(api, BACKUP_REPOSITORY, stores.repositories, CachedRepository.from_object, namespaces),
        )

    @property
    def age_s(self) -> float:
        """See `Freshness`."""
        return max(mirror.age_s for mirror in (self._vms, self._backups, self._restores, *self._others))

    @property
    def synced(self) -> bool:
        """Whether everything was listed once."""
        return self.age_s < float("inf")

    async def until(self, kind: Kind, condition: Callable[[], bool], limit_s: float) -> None:
        """See `Freshness`. Looks again whenever an object of that kind changes."""
        mirror = {BACKUP: self._backups, RESTORE: self._restores}[kind]
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    version = mirror.version
                    if condition():
                        return
                    await mirror.wait_change(version)
        except TimeoutError:
            return

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (self._vms, *self._others):
                group.create_task(mirror.run())
            # in this order, since Backups that wait are shown with their VMs' names, and Restores with those of both
            await _until_synced(self._vms)
            group.create_task(self._backups.run())
            await _until_synced(self._backups)
            group.create_task(self._restores.run())


async def _until_synced(mirror: Mirror[Any]) -> None:
    while not mirror.synced:
        await mirror.wait_change(mirror.version)
