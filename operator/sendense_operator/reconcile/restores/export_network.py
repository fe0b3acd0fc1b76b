"""How a Restore that serves disks is reached: its Service, and its NetworkPolicy."""

from __future__ import annotations

from sendense_operator.api.v1alpha1.restore_target import NBDTarget
from sendense_operator.cluster.errors import AlreadyExistsError
from sendense_operator.cluster.kinds import NETWORK_POLICY, SERVICE
from sendense_operator.cluster.object_names import restore_service_name
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.workload.worker_network import build_restore_policy, build_restore_service


async def open_network(ctx: ReconcileContext, restore: ObservedRestore, nbd: NBDTarget) -> None:
    """Create the NetworkPolicy and the Service, unless they exist. The spec never changes. Raises ClusterError."""
    disks = [disk.index for disk in restore.status.disks]
    wanted = [(SERVICE, build_restore_service(restore.obj, disks))]
    if ctx.settings.network_policies:
        wanted.insert(0, (NETWORK_POLICY, build_restore_policy(restore.obj, disks, nbd.allowed_from, ctx.settings)))
    for kind, obj in wanted:
        try:
            await ctx.cluster.create(kind, obj)
        except AlreadyExistsError:
            continue


async def close_network(ctx: ReconcileContext, restore: ObservedRestore) -> None:
    """Delete both, once no pod is left: the policy is all that keeps others off an export. Raises ClusterError."""
    if restore.spec.nbd is None:
        return
    await ctx.cluster.delete(SERVICE, restore.namespace, restore_service_name(restore.name, restore.uid))
    await ctx.cluster.delete(NETWORK_POLICY, restore.namespace, restore.job_name)
