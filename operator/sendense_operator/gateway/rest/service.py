"""What the endpoints of Backups and VMs do: check the caller's rights, read the stores, write with the caller's token.

All methods raise RestError and ClusterError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.kinds import BACKUP, BACKUP_CHAIN, BACKUP_REPOSITORY, PROTECTED_VM
from sendense_operator.consolidation_task import ConsolidationMode
from sendense_operator.gateway.rest.authentication import Right, Session
from sendense_operator.gateway.rest.chain_view import chain_body, consolidation_json, pick_chain, vm_json
from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.filters import BackupFilter
from sendense_operator.gateway.rest.schemas import ConsolidateRequest, StartRequest
from sendense_operator.gateway.rest.service_base import READ_CHAINS, ServiceBase, no_vm
from sendense_operator.gateway.rest.start_request import build_backup, check_disk, check_request
from sendense_operator.gateway.rest.vm_resolution import find_vm
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM
from sendense_operator.views.freeing_preview import Freed, decide_freed, immutable_until


@dataclass(frozen=True, slots=True)
class Service(ServiceBase):
    """The endpoints of Backups and VMs without HTTP."""

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
        made = await self._create(
            session, BACKUP, namespace, request.backup_id, vm.name,
            lambda name: build_backup(request, namespace, name, vm.name),
        )  # fmt: skip
        created = CachedBackup.from_object(made, vm.vm_name)
        await self._see_created(BACKUP, self.stores.backups, created)
        return created

    async def select(self, session: Session, namespace: str, wanted: BackupFilter) -> list[CachedBackup]:
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
        return await self._delete(session, BACKUP, self.stores.backups, backup), freed

    async def chain(
        self, session: Session, namespace: str, vm_context_id: str, vm_name: str, repository_id: str, disk_id: int
    ) -> bytes:
        """Return the JSON of a VM's chain."""
        if not (vm_context_id or vm_name):
            raise RestError(400, "vm_context_id or vm_name is required")
        await self._enter(session, namespace, *READ_CHAINS)
        meant = self._chained_vm(namespace, vm_context_id, vm_name, repository_id)
        chain = pick_chain(meant.chains, meant.name, repository_id)
        points = [one for one in self._family(namespace, chain.vm, chain.repository) if one.is_point]
        points.sort(key=lambda one: (one.completed, one.name))
        name = meant.vm.vm_name if meant.vm else (points[-1].vm_name if points else chain.vm)
        return chain_body(chain, points, name, disk_id)

    async def check_may_consolidate(self, session: Session, namespace: str) -> None:
        """Refuse, before anything of a request is read, who may not change BackupChains there."""
        await self._enter(session, namespace, Right("patch", BACKUP_CHAIN))

    async def consolidate(self, session: Session, namespace: str, request: ConsolidateRequest) -> dict[str, Any]:
        """Request that the layers of a VM's chain be merged; the JSON of the answer."""
        await self._enter(session, namespace, *READ_CHAINS, Right("patch", BACKUP_CHAIN))
        meant = self._chained_vm(namespace, request.vm_context_id or "", request.vm_name or "", request.repository_id)
        chain = pick_chain(meant.chains, meant.name, request.repository_id)
        if chain.consolidation.mode == ConsolidationMode.NEVER:
            text = f"spec.consolidation.mode of BackupChain {chain.name} is Never"
            raise RestError(409, "the layers of this chain are not merged", text)
        value = datetime.now(UTC).isoformat(timespec="microseconds")
        # With the UID: a chain that was made anew meanwhile is another one.
        meta = {"uid": chain.uid, "annotations": {names.ANNOTATION_CONSOLIDATE: value}}
        cluster = self.access.act_with(session.token)
        await cluster.merge_patch(BACKUP_CHAIN, namespace, chain.name, {"metadata": meta})
        return {
            "chain_id": chain.name,
            "vm_context_id": chain.vm,
            "repository_id": chain.repository,
            "request": value,
            "consolidation": consolidation_json(chain.consolidation),
        }

    async def vms(self, session: Session, namespace: str) -> list[dict[str, Any]]:
        """Return the JSON of all VMs, by name."""
        await self._enter(session, namespace, Right("list", PROTECTED_VM), Right("list", BACKUP_CHAIN))
        chains: dict[str, list[CachedChain]] = {}
        for chain in self.stores.chains.ordered(namespace):
            chains.setdefault(chain.vm, []).append(chain)
        return [vm_json(vm, chains.get(vm.name, ())) for vm in self.stores.vms.ordered(namespace)]

    async def _find_vm(self, session: Session, namespace: str, request: StartRequest) -> CachedVM:
        name = request.vm_context_id or request.vm_name or ""
        if request.vm_context_id:
            found = self.stores.vms.get(namespace, name)
        else:
            found = find_vm(self.stores.vms.ordered(namespace), name)
        missing = no_vm(name, namespace)
        return found or CachedVM.from_object(await self._ask(session, PROTECTED_VM, namespace, name, missing))

    def _family(self, namespace: str, vm: str, repository: str) -> Sequence[CachedBackup]:
        wanted = BackupFilter(vm_context_id=vm, repository_id=repository)
        return wanted.select(self.stores.backups.ordered(namespace))

    def _freed(self, backup: CachedBackup) -> Freed:
        family = self._family(backup.namespace, backup.vm, backup.repository)
        chains = (one for one in self.stores.chains.ordered(backup.namespace) if one.vm == backup.vm)
        chain = next((one for one in chains if one.repository == backup.repository), None)
        repository = self.stores.repositories.get(backup.namespace, backup.repository)
        policy, days = (repository.policy, repository.immutable_days) if repository else ("", 0)
        return decide_freed(backup, family, chain, policy, immutable_until(backup, days, datetime.now(UTC)))
