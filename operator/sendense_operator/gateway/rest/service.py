"""What each endpoint does: checks the caller's rights, reads the stores, writes with the caller's token.

All methods raise RestError and ClusterError.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.authorization import Authorizer
from sendense_operator.cluster.errors import AlreadyExistsError, NotFoundError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY, PROTECTED_VM, Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.gateway.rest.authentication import Right, Session, require
from sendense_operator.gateway.rest.cached_objects import CachedBackup, CachedChain, CachedRepository, CachedVM
from sendense_operator.gateway.rest.chain_view import chain_body, pick_chain, vm_json
from sendense_operator.gateway.rest.errors import RestError, unavailable
from sendense_operator.gateway.rest.filters import Filter
from sendense_operator.gateway.rest.freeing_preview import Freed, decide_freed
from sendense_operator.gateway.rest.object_cache import Freshness, Stores, trouble
from sendense_operator.gateway.rest.schemas import StartRequest
from sendense_operator.gateway.rest.start_request import backup_name, build_backup, check_disk, check_request
from sendense_operator.gateway.rest.vm_resolution import find_chained_vm, find_vm

_SEE_OWN_WRITE_S: Final = 2.0
"""How long a call that wrote waits until its own replica has seen it, so that a list afterwards shows it."""
_NAME_TRIES: Final = 5
_ALPHABET: Final = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Service:
    """The endpoints without HTTP."""

    access: Authorizer
    stores: Stores
    freshness: Freshness
    namespaces: tuple[str, ...] = ()
    """Those that are followed; none: all."""

    async def check_may_start(self, session: Session, namespace: str) -> None:
        """Refuse, before anything of a request is read, who may not create Backups there."""
        await self._enter(session, namespace, Right("create", BACKUP))

    async def start(self, session: Session, namespace: str, request: StartRequest) -> CachedBackup:
        """Create a Backup."""
        check_request(request)
        by_id = request.vm_context_id
        look_up = Right("get", PROTECTED_VM, by_id) if by_id else Right("list", PROTECTED_VM)
        repository = Right("get", BACKUP_REPOSITORY, request.repository_id)
        await self._enter(session, namespace, Right("create", BACKUP), look_up, repository)
        vm = await self._find_vm(session, namespace, request)
        check_disk(vm, request.disk_id)
        await self._repository(session, namespace, request.repository_id)
        created = CachedBackup.from_object(await self._create(session, namespace, request, vm.name), vm.vm_name)
        await self.freshness.until(lambda: self._stored(created) is not None, _SEE_OWN_WRITE_S)
        return created

    async def select(self, session: Session, namespace: str, wanted: Filter) -> list[CachedBackup]:
        """Return the Backups that fit, the newest first."""
        await self._enter(session, namespace, Right("list", BACKUP))
        return wanted.select(self.stores.backups.ordered(namespace))

    async def get(self, session: Session, namespace: str, backup_id: str) -> CachedBackup:
        """Return one Backup."""
        await self._enter(session, namespace, Right("get", BACKUP, backup_id))
        return await self._backup(session, namespace, backup_id)

    async def delete(self, session: Session, namespace: str, backup_id: str) -> tuple[bool, Freed]:
        """Delete a Backup; whether the object has gone already, and what becomes free."""
        await self._enter(session, namespace, Right("delete", BACKUP, backup_id))
        backup = await self._backup(session, namespace, backup_id)
        freed = self._freed(backup)
        if not await self.access.may(session.caller, "list", BACKUP, namespace):
            freed = freed.without_names()
        await self.access.act_with(session.token).delete(BACKUP, namespace, backup_id, uid=backup.uid)
        await self.freshness.until(lambda: self._leaving(backup), _SEE_OWN_WRITE_S)
        return self._stored(backup) is None, freed

    async def chain(
        self, session: Session, namespace: str, vm_context_id: str, vm_name: str, repository_id: str, disk_id: int
    ) -> bytes:
        """Return the JSON of a VM's chain."""
        if not (vm_context_id or vm_name):
            raise RestError(400, "vm_context_id or vm_name is required")
        await self._enter(session, namespace, *map(partial(Right, "list"), (BACKUP_CHAIN, BACKUP, PROTECTED_VM)))
        chains = list(self.stores.chains.ordered(namespace))
        wanted = vm_context_id
        if not wanted:
            there = (one for one in chains if repository_id in ("", one.repository))
            backups = self.stores.backups.ordered(namespace)
            wanted = find_chained_vm(self.stores.vms.ordered(namespace), there, backups, vm_name)
        vm = self.stores.vms.get(namespace, wanted)
        chains = [one for one in chains if one.vm == wanted]
        # a ProtectedVM may be gone while its restore points are still there
        if vm is None and not chains:
            raise _no_vm(vm_context_id or vm_name, namespace)
        chain = pick_chain(chains, wanted, repository_id)
        points = [one for one in self._family(namespace, chain.vm, chain.repository) if one.is_point]
        points.sort(key=lambda one: (one.completed, one.name))
        name = vm.vm_name if vm else (points[-1].vm_name if points else chain.vm)
        return chain_body(chain, points, name, disk_id)

    async def vms(self, session: Session, namespace: str) -> list[dict[str, Any]]:
        """Return the JSON of all VMs, by name."""
        await self._enter(session, namespace, Right("list", PROTECTED_VM), Right("list", BACKUP_CHAIN))
        chains: dict[str, list[CachedChain]] = {}
        for chain in self.stores.chains.ordered(namespace):
            chains.setdefault(chain.vm, []).append(chain)
        return [vm_json(vm, chains.get(vm.name, ())) for vm in self.stores.vms.ordered(namespace)]

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

    async def _find_vm(self, session: Session, namespace: str, request: StartRequest) -> CachedVM:
        name = request.vm_context_id or request.vm_name or ""
        if request.vm_context_id:
            found = self.stores.vms.get(namespace, name)
        else:
            found = find_vm(self.stores.vms.ordered(namespace), name)
        missing = _no_vm(name, namespace)
        return found or CachedVM.from_object(await self._ask(session, PROTECTED_VM, namespace, name, missing))

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

    async def _create(self, session: Session, namespace: str, request: StartRequest, vm: str) -> Obj:
        cluster = self.access.act_with(session.token)
        for attempt in range(_NAME_TRIES):
            token = "".join(secrets.choice(_ALPHABET) for _ in range(5))
            name = request.backup_id or backup_name(vm, datetime.now(UTC), token)
            try:
                return await cluster.create(BACKUP, build_backup(request, namespace, name, vm))
            except AlreadyExistsError:
                if request.backup_id or attempt == _NAME_TRIES - 1:
                    raise RestError(409, "name taken", f"there is a Backup {name} in namespace {namespace}") from None
        raise AssertionError("unreachable")

    def _stored(self, record: CachedBackup) -> CachedBackup | None:
        found = self.stores.backups.get(record.namespace, record.name)
        return found if found is not None and found.uid == record.uid else None

    def _leaving(self, record: CachedBackup) -> bool:
        found = self._stored(record)
        return found is None or found.deleting

    def _family(self, namespace: str, vm: str, repository: str) -> Sequence[CachedBackup]:
        wanted = Filter(vm_context_id=vm, repository_id=repository)
        return wanted.select(self.stores.backups.ordered(namespace))

    def _freed(self, backup: CachedBackup) -> Freed:
        family = self._family(backup.namespace, backup.vm, backup.repository)
        chains = (one for one in self.stores.chains.ordered(backup.namespace) if one.vm == backup.vm)
        chain = next((one for one in chains if one.repository == backup.repository), None)
        repository = self.stores.repositories.get(backup.namespace, backup.repository)
        return decide_freed(backup, family, chain, repository.policy if repository else "")


def _no_vm(name: str, namespace: str) -> RestError:
    return RestError(404, "VM not found", f"no ProtectedVM or VM of one is named {name[:200]!r} in {namespace}")
