"""Reading a claim, with what tells whether it is bound once a pod uses it."""

from __future__ import annotations

from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import CLAIM, STORAGE_CLASS
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.workload.claims import Claim


async def find_claim(ctx: ReconcileContext, namespace: str, name: str) -> Claim:
    """Return a claim as it is found, with its StorageClass while it is pending. Raises ClusterError."""
    claim = await find(ctx.cluster, CLAIM, namespace, name)
    class_name = ((claim or {}).get("spec") or {}).get("storageClassName")
    if claim is None or not class_name or (claim.get("status") or {}).get("phase") != "Pending":
        return Claim(name, claim)
    return Claim(name, claim, await _find_storage_class(ctx, class_name))


async def _find_storage_class(ctx: ReconcileContext, name: str) -> Obj | None:
    try:
        return await find(ctx.cluster, STORAGE_CLASS, None, name)
    except ForbiddenError:
        return None
