"""Whether one node can mount the repository's claim and those that receive the disks of a Restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import CLAIM, NODE, POD, VOLUME
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.restores.restore_source import ReadableRepository
from sendense_operator.reconcile.restores.restore_status import ObservedRestore
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.kubernetes_objects import is_finished
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.claims import needs_one_node
from sendense_operator.reconcile.workload.volume_nodes import (
    NodeFacts,
    Reach,
    facts_of,
    has_affinity,
    have_common_node,
    narrowed,
    nodes_of_volume,
)


@dataclass(frozen=True)
class BoundVolume:
    """A claim and its volume, None while it is not bound: then it follows the pod."""

    claim: str
    volume: Obj | None


async def check_nodes(
    ctx: ReconcileContext, restore: ObservedRestore, repository: ReadableRepository
) -> Problem | None:
    """Return the problem of claims that no node can mount together. Raises ClusterError.

    Without the right to read volumes and nodes nothing is known, and the scheduler decides.
    """
    targets = [disk.claim_name for disk in restore.status.disks if disk.claim_name is not None]
    if not targets:
        return None
    try:
        source = await _bound(ctx, restore.namespace, repository.spec.claim_name)
        bound = [await _bound(ctx, restore.namespace, name) for name in targets]
        in_use_on = await _in_use_on(ctx, restore.namespace, repository)
        # Most volumes can be mounted everywhere, and a cluster may have thousands of nodes.
        limits = sum(has_affinity(one.volume) for one in (source, *bound)) + bool(in_use_on)
        nodes = await collect(ctx.cluster, NODE, None, facts_of) if limits > 1 else []
    except ForbiddenError:
        return None
    return decide_nodes(source, bound, in_use_on, nodes) if limits > 1 else None


def decide_nodes(
    source: BoundVolume, targets: Sequence[BoundVolume], in_use_on: frozenset[str], nodes: Sequence[NodeFacts]
) -> Problem | None:
    """Return the problem of volumes that no node can mount together.

    `source`: that of the repository, which pods use on the nodes `in_use_on` if only one node at a time can have it.
    It is final unless it passes with those pods.
    """
    reaches = [Reach(one.claim, nodes_of_volume(one.volume, nodes)) for one in (source, *targets)]
    now = [narrowed(reaches[0], in_use_on), *reaches[1:]]
    if have_common_node(now):
        return None
    is_final = not have_common_node(reaches)
    places = "; ".join(str(one) for one in (reaches if is_final else now) if one.nodes)
    what = f"no node can mount the volumes of all claims: {places}"
    if not is_final:
        text = f"{what}, where pods use the volume of the BackupRepository: the restore starts when they have ended"
        return Problem("NoCommonNode", text)
    advice = (
        f"restore to claims of a node that can mount claim {source.claim} of the BackupRepository, or serve the disks "
        "with spec.target.nbd and copy them in a pod on the other node"
    )
    return Problem("NoCommonNode", f"{what}: {advice}", Meaning.FINAL)


async def _bound(ctx: ReconcileContext, namespace: str, name: str) -> BoundVolume:
    claim = await find(ctx.cluster, CLAIM, namespace, name)
    volume = ((claim or {}).get("spec") or {}).get("volumeName")
    return BoundVolume(name, await find(ctx.cluster, VOLUME, None, volume) if volume else None)


async def _in_use_on(ctx: ReconcileContext, namespace: str, repository: ReadableRepository) -> frozenset[str]:
    """Return the nodes on which the repository's pods are, if its volume is on one node at a time."""
    claim = await find(ctx.cluster, CLAIM, namespace, repository.spec.claim_name)
    if claim is None or not needs_one_node(claim):
        return frozenset()

    def node(pod: Obj) -> str | None:
        return None if is_finished(pod) else pod["spec"].get("nodeName")

    return frozenset(
        await collect(ctx.cluster, POD, namespace, node, labels=f"{names.LABEL_REPOSITORY}={repository.name}")
    )
