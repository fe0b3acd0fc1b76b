"""What the endpoints of Backups and those of Restores share: the caller's rights, what is there, new objects.

All methods raise RestError and ClusterError.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.authorization import Authorizer
from sendense_operator.cluster.errors import AlreadyExistsError, NotFoundError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY, PROTECTED_VM, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.gateway.rest.authentication import Right, Session, require
from sendense_operator.gateway.rest.errors import RestError, unavailable
from sendense_operator.gateway.rest.object_cache import Freshness, Stores, trouble
from sendense_operator.gateway.rest.record_store import Store
from sendense_operator.gateway.rest.vm_resolution import find_chained_vm
from sendense_operator.views.cached_objects import (
    CachedBackup,
    CachedChain,
    CachedRepository,
    CachedRun,
    CachedVM,
)
from sendense_operator.views.new_names import made_up_name

_SEE_OWN_WRITE_S: Final = 2.0
"""How long a call that wrote waits until its own replica has seen it, so that a list afterwards shows it."""
_NAME_TRIES: Final = 5
_ALPHABET: Final = string.ascii_lowercase + string.digits
R = TypeVar("R", bound=CachedRun)

READ_CHAINS: Final = tuple(map(partial(Right, "list"), (BACKUP_CHAIN, BACKUP, PROTECTED_VM)))
"""Rights of who looks a VM up by its restore points."""


@dataclass(frozen=True, slots=True)
class ChainedVM:
    """A VM that has a ProtectedVM or restore points."""

    name: str
    """Name of the ProtectedVM, which may be gone while the restore points are still there."""
    vm: CachedVM | None
    chains: list[CachedChain]
    """Its chains in all repositories."""


@dataclass(frozen=True, slots=True)
class ServiceBase:
    """Endpoints without HTTP."""

    access: Authorizer
    stores: Stores
    freshness: Freshness
    namespaces: tuple[str, ...] = ()
    """Those that are followed; none: all."""

    async def _enter(self, session: Session, namespace: str, *rights: Right) -> None:
        """Check the caller's rights first: who has none learns nothing else."""
        if not names.is_object_name(namespace):
            raise RestError(404, "namespace not found", "a namespace has a name of a-z, 0-9 and '-'")
        await require(self.access, session.caller, namespace, rights)
        if self.namespaces and namespace not in self.namespaces:
            raise RestError(404, "namespace not found", f"this operator does not work in namespace {namespace}")
        if problem := trouble(self.freshness):
            raise unavailable(problem)

    async def _backup(self, session: Session, namespace: str, backup_id: str) -> CachedBackup:
        missing = RestError(404, "backup not found", f"no Backup {backup_id[:200]} in namespace {namespace}")
        found = self.stores.backups.get(namespace, backup_id)
        return found or self.stores.read_backup(await self._ask(session, BACKUP, namespace, backup_id, missing))

    async def _repository(self, session: Session, namespace: str, name: str) -> CachedRepository:
        missing = RestError(404, "repository not found", f"no BackupRepository {name[:200]} in namespace {namespace}")
        found = self.stores.repositories.get(namespace, name)
        if found is None:
            found = CachedRepository.from_object(await self._ask(session, BACKUP_REPOSITORY, namespace, name, missing))
        return found

    async def _ask(self, session: Session, kind: Kind, namespace: str, name: str, missing: RestError) -> Obj:
        """Return an object that the stores don't have: it may be younger than their newest news."""
        if not names.is_object_name(name):
            raise missing
        try:
            return await self.access.act_with(session.token).get(kind, namespace, name)
        except NotFoundError:
            raise missing from None

    def _chained_vm(self, namespace: str, vm_context_id: str, vm_name: str, repository_id: str) -> ChainedVM:
        """Return the VM whose restore points are meant. `repository_id`: where they are; empty: anywhere."""
        chains = list(self.stores.chains.ordered(namespace))
        wanted = vm_context_id
        if not wanted:
            there = (one for one in chains if repository_id in ("", one.repository))
            backups = self.stores.backups.ordered(namespace)
            wanted = find_chained_vm(self.stores.vms.ordered(namespace), there, backups, vm_name)
        vm = self.stores.vms.get(namespace, wanted)
        chains = [one for one in chains if one.vm == wanted]
        if vm is None and not chains:
            raise no_vm(vm_context_id or vm_name, namespace)
        return ChainedVM(wanted, vm, chains)

    async def _create(
        self, session: Session, kind: Kind, namespace: str, name: str | None, stem: str, build: Callable[[str], Obj]
    ) -> Obj:
        """Create an object named `name`, else by a name that begins with `stem`. `build`: from a name to the object."""
        cluster = self.access.act_with(session.token)
        for attempt in range(_NAME_TRIES):
            token = "".join(secrets.choice(_ALPHABET) for _ in range(5))
            taken = name or made_up_name(stem, datetime.now(UTC), token)
            try:
                return await cluster.create(kind, build(taken))
            except AlreadyExistsError:
                if name or attempt == _NAME_TRIES - 1:
                    text = f"there is a {kind.kind} {taken} in namespace {namespace}"
                    raise RestError(409, "name taken", text) from None
        raise AssertionError("unreachable")

    async def _see_created(self, kind: Kind, store: Store[R], created: R) -> None:
        """Wait until the store has a new object."""
        await self.freshness.until(kind, lambda: _stored(store, created) is not None, _SEE_OWN_WRITE_S)

    async def _delete(self, session: Session, kind: Kind, store: Store[R], record: R) -> bool:
        """Delete the object of a record; whether it has gone already."""
        cluster = self.access.act_with(session.token)
        await cluster.delete(kind, record.namespace, record.name, uid=record.uid)
        await self.freshness.until(kind, lambda: _leaving(store, record), _SEE_OWN_WRITE_S)
        return _stored(store, record) is None


def _stored(store: Store[R], record: R) -> R | None:
    found = store.get(record.namespace, record.name)
    return found if found is not None and found.uid == record.uid else None


def _leaving(store: Store[R], record: R) -> bool:
    found = _stored(store, record)
    return found is None or found.deleting


def no_vm(name: str, namespace: str) -> RestError:
    """Return the answer for a VM that is not there."""
    return RestError(404, "VM not found", f"no ProtectedVM or VM of one is named {name[:200]!r} in {namespace}")
