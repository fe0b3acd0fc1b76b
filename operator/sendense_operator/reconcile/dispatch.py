"""From a key of the work queue to the reconcile that does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.conditions import TERMINAL_PHASES
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
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.backups.backup_reconciler import reconcile_backup
from sendense_operator.reconcile.backups.start_queue import forget
from sendense_operator.reconcile.chains.chain_reconciler import key_of_chain, reconcile_chain
from sendense_operator.reconcile.policies.policy_reconciler import PolicyReconciler
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.repositories.repository_reconciler import reconcile_repository
from sendense_operator.reconcile.restores.restore_reconciler import reconcile_restore
from sendense_operator.reconcile.state.context import Context
from sendense_operator.reconcile.state.failures import Failures, count_failure
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import in_no_phase_of, is_deleting
from sendense_operator.reconcile.vcenter.appliance_reconciler import reconcile_appliance
from sendense_operator.reconcile.vcenter.discovery_reconciler import reconcile_discovery
from sendense_operator.reconcile.vcenter.gateway_polling import poll_gateways
from sendense_operator.reconcile.vcenter.vm_protection import reconcile_protection
from sendense_operator.reconcile.vcenter.vm_reconciler import reconcile_vm

TIMEOUT_S: Final = 180.0
"""Seconds that one reconcile may take."""
RESYNC_S: Final = 60.0
FULL_RESYNC_EVERY: Final = 10
HEARTBEAT_S: Final = 10.0

_UNFINISHED: Final = in_no_phase_of(TERMINAL_PHASES)
_RUNS: Final = ((Work.BACKUP, BACKUP), (Work.RESTORE, RESTORE))
"""What has a worker and comes to an end."""
_OTHERS: Final = (
    (Work.REPOSITORY, BACKUP_REPOSITORY),
    (Work.POLICY, BACKUP_POLICY),
    (Work.VM, PROTECTED_VM),
    (Work.APPLIANCE, APPLIANCE),
)


def _key_of_deleted(work: Work, obj: Obj) -> Key | None:
    return Key.of(work, obj) if is_deleting(obj) else None


class Reconciler:
    """Does one piece of work at a time for each key; the queue sees to that."""

    def __init__(self, ctx: Context, index: ProtectionIndex) -> None:
        self._ctx = ctx
        self._index = index
        self._reconcile_policy = PolicyReconciler(ctx, index)
        self._resyncs = 0
        self._failures = Failures()

    async def __call__(self, key: Key) -> float | None:
        """Return seconds until the key is to be checked again, or None. Raises what the reconcile did not expect."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                delay = await self._reconcile(key)
        except Exception as error:
            await count_failure(self._ctx, self._failures, key, error)
            raise
        self._failures.pop(key)
        return delay

    async def _reconcile(self, key: Key) -> float | None:
        ctx = self._ctx
        match key.work:
            case Work.BACKUP:
                return await reconcile_backup(ctx, key.namespace, key.name)
            case Work.RESTORE:
                return await reconcile_restore(ctx, key.namespace, key.name)
            case Work.CHAIN:
                return await reconcile_chain(ctx, self._index, key.namespace, *key.chain)
            case Work.REPOSITORY:
                return await reconcile_repository(ctx, key.namespace, key.name)
            case Work.POLICY:
                return await self._reconcile_policy(key.namespace, key.name)
            case Work.SELECTION:
                self._reconcile_policy.forget_missing(key.namespace)
                for policy in self._index.policies.of(key.namespace):
                    ctx.again(Key(Work.POLICY, policy.namespace, policy.name))
                return None
            case Work.VM:
                delay = await reconcile_vm(ctx, key.namespace, key.name)
                # Its disks decide what the next backup is.
                await self._wake_chains(key.namespace, f"spec.vmRef.name={key.name}")
                ctx.again(Key(Work.PROTECTION, key.namespace, key.name))
                return delay
            case Work.PROTECTION:
                return await reconcile_protection(ctx, self._index, key.namespace, key.name)
            case Work.APPLIANCE:
                return await reconcile_appliance(ctx, key.namespace, key.name)
            case Work.DISCOVERY:
                return await reconcile_discovery(ctx, key.namespace, key.name)
            case Work.WAKE:
                # What woke them is younger than what was read of the Jobs a moment ago.
                forget(ctx)
                await self._wake(key.namespace)
                return None
            case Work.RESYNC:
                return await self._resync()
            case Work.GATEWAYS:
                return await poll_gateways(ctx)
            case Work.HEARTBEAT:
                return HEARTBEAT_S

    async def _wake(self, namespace: str) -> None:
        """Something that Backups or Restores wait for has changed: let all that wait look again."""
        for work, kind in _RUNS:
            await self._enqueue(work, kind, namespace, f"status.phase={Phase.PENDING.value}")

    async def _resync(self) -> float:
        """In case an event was missed: everything that is not finished, and now and then the rest."""
        for namespace in self._ctx.settings.namespaces or (None,):
            for work, kind in _RUNS:
                await self._enqueue(work, kind, namespace, _UNFINISHED)
            if self._resyncs % FULL_RESYNC_EVERY == 0:
                for work, kind in _OTHERS:
                    await self._enqueue(work, kind, namespace)
                await self._wake_deleted(namespace)
                await self._wake_chains(namespace)
        self._resyncs += 1
        return RESYNC_S

    async def _enqueue(self, work: Work, kind: Kind, namespace: str | None, fields: str = "") -> None:
        await self._look_again(kind, namespace, lambda obj: Key.of(work, obj), fields)

    async def _wake_deleted(self, namespace: str | None) -> None:
        """Backups and Restores that are over and are being deleted; no selector finds them."""
        for work, kind in _RUNS:
            await self._look_again(kind, namespace, partial(_key_of_deleted, work))

    async def _wake_chains(self, namespace: str | None, fields: str = "") -> None:
        await self._look_again(BACKUP_CHAIN, namespace, key_of_chain, fields)

    async def _look_again(
        self, kind: Kind, namespace: str | None, key_of: Callable[[Obj], Key | None], fields: str = ""
    ) -> None:
        """Enqueue what `key_of` makes of the objects. Nothing else of them is kept: there may be tens of thousands."""
        for key in await collect(self._ctx.cluster, kind, namespace, key_of, fields=fields):
            self._ctx.again(key)
