"""What the endpoints of Restores do: as those of Backups, with the caller's rights and token.

All methods raise RestError and ClusterError.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.cluster.kinds import BACKUP, BACKUP_REPOSITORY, RESTORE
from sendense_operator.gateway.rest.authentication import Right, Session
from sendense_operator.gateway.rest.chain_view import pick_chain
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.filters import RestoreFilter
from sendense_operator.gateway.rest.restore_request import build_restore, check_backup, check_restore
from sendense_operator.gateway.rest.restore_schemas import RestoreRequest
from sendense_operator.gateway.rest.service_base import READ_CHAINS, ServiceBase
from sendense_operator.views.cached_objects import CachedRestore


@dataclass(frozen=True, slots=True)
class RestoreService(ServiceBase):
    """The endpoints of Restores without HTTP."""

    async def check_may_start(self, session: Session, namespace: str) -> None:
        """Refuse, before anything of a request is read, who may not create Restores there."""
        await self._enter(session, namespace, Right("create", RESTORE))

    async def start(self, session: Session, namespace: str, request: RestoreRequest) -> CachedRestore:
        """Create a Restore."""
        check_restore(request)
        await self._enter(session, namespace, Right("create", RESTORE), *_source_rights(request))
        vm = await self._find_source(session, namespace, request)
        made = await self._create(
            session, RESTORE, namespace, request.restore_id, f"restore-{vm}",
            lambda name: build_restore(request, namespace, name, vm),
        )  # fmt: skip
        created = self.stores.read_restore(made)
        await self._see_created(RESTORE, self.stores.restores, created)
        return created

    async def select(self, session: Session, namespace: str, wanted: RestoreFilter) -> list[CachedRestore]:
        """Return the Restores that fit, the newest first."""
        await self._enter(session, namespace, Right("list", RESTORE))
        return wanted.select(self.stores.restores.ordered(namespace))

    async def get(self, session: Session, namespace: str, restore_id: str) -> CachedRestore:
        """Return one Restore."""
        await self._enter(session, namespace, Right("get", RESTORE, restore_id))
        return await self._restore(session, namespace, restore_id)

    async def delete(self, session: Session, namespace: str, restore_id: str) -> tuple[bool, CachedRestore]:
        """Delete a Restore, which stops it; whether the object has gone already, and what it was before."""
        await self._enter(session, namespace, Right("delete", RESTORE, restore_id))
        restore = await self._restore(session, namespace, restore_id)
        return await self._delete(session, RESTORE, self.stores.restores, restore), restore

    async def _restore(self, session: Session, namespace: str, restore_id: str) -> CachedRestore:
        missing = RestError(404, "restore not found", f"no Restore {restore_id[:200]} in namespace {namespace}")
        found = self.stores.restores.get(namespace, restore_id)
        return found or self.stores.read_restore(await self._ask(session, RESTORE, namespace, restore_id, missing))

    async def _find_source(self, session: Session, namespace: str, request: RestoreRequest) -> str:
        """Return the name of the ProtectedVM whose restore point is meant."""
        if request.backup_id:
            backup = await self._backup(session, namespace, request.backup_id)
            check_backup(backup, request)
            return backup.vm
        repository = request.repository_id or ""
        await self._repository(session, namespace, repository)
        meant = self._chained_vm(namespace, request.vm_context_id or "", request.vm_name or "", repository)
        pick_chain(meant.chains, meant.name, repository)
        return meant.name


def _source_rights(request: RestoreRequest) -> tuple[Right, ...]:
    if request.backup_id:
        return (Right("get", BACKUP, request.backup_id),)
    return (*READ_CHAINS, Right("get", BACKUP_REPOSITORY, request.repository_id or ""))
