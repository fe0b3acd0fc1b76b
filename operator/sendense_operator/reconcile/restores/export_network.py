"""How a Restore that serves disks is reached: its Service, and its NetworkPolicy."""

from __future__ import annotations

from sendense_operator.api.v1alpha1.restore_target import NBDTarget
from sendense_operator.cluster.errors import AlreadyExistsError
from sendense_operator.cluster.kinds import NETWORK_POLICY, SERVICE
from sendense_operator.cluster.object_names import restore_service_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.workload.worker_network import (
    build_restore_policy,
    build_restore_service,
    build_sender_policy,
    build_sender_service,
)


async def open_network(ctx: ReconcileContext, restore: ObservedRestore, nbd: NBDTarget) -> None:
    """Create the NetworkPolicy and the Service, unless they exist. The spec never changes. Raises ClusterError."""
    disks = [disk.index for disk in restore.status.disks]
    policy = build_restore_policy(restore.obj, disks, nbd.allowed_from, ctx.settings)
    await _open(ctx, build_restore_service(restore.obj, disks), policy)


async def open_sender_network(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Create those of a sender, unless they exist. Raises ClusterError."""
    disks = [disk.index for disk in restore.status.disks]
    policy = build_sender_policy(restore.obj, disks, ctx.settings)
    await _open(ctx, build_sender_service(restore.obj, disks), policy)


async def _open(ctx: ReconcileContext, service: Obj, policy: Obj) -> None:
    wanted = [(NETWORK_POLICY, policy)] if ctx.settings.network_policies else []
    for kind, obj in [*wanted, (SERVICE, service)]:
        try:
            await ctx.cluster.create(kind, obj)
        except AlreadyExistsError:
            continue


async def close_network(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Delete both, once no pod is left: the policy is all that keeps others off an export. Raises ClusterError."""
    if restore.spec.nbd is None and restore.status.sender_job is None:
        return
    await ctx.cluster.delete(SERVICE, restore.namespace, restore_service_name(restore.name, restore.uid))
    await ctx.cluster.delete(NETWORK_POLICY, restore.namespace, restore.job_name)
