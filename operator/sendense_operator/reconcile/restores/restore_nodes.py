"""Whether one node can mount the repository's claim and those that receive the disks of a Restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

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
from sendense_operator.reconcile.workload.volume_nodes import (
    NodeFacts,
    Reach,
    facts_of,
    has_affinity,
    have_common_node,
    narrowed,
    nodes_of_volume,
)
from sendense_operator.restore_task import FileFormat


@dataclass(frozen=True)
class BoundVolume:
    """A claim and its volume, None while it is not bound: then it follows the pod."""

    claim: str
    volume: Obj | None


class Placement(Enum):
    """By how many pods the disks are restored."""

    ONE_POD = "one pod"
    """Which mounts the repository's claim and the targets."""
    TWO_PODS = "two pods"
    """One mounts the repository's claim and serves the disks, the other one mounts the targets."""


async def find_placement(
    ctx: ReconcileContext, restore: ObservedRestore, repository: ReadableRepository, *, one_node: bool
) -> Placement | Problem:
    """Return how many pods are needed, or the problem of targets that no node can mount. Raises ClusterError.

    `one_node`: whether the repository's volume is on one node at a time.
    Without the right to read volumes and nodes nothing is known, and the scheduler decides. What has begun with two
    pods stays so.
    """
    targets = [disk.claim_name for disk in restore.status.disks if disk.claim_name is not None]
    if not targets:
        return Placement.ONE_POD
    if restore.status.sender_job is not None:
        return Placement.TWO_PODS
    try:
        source = await _bound(ctx, restore.namespace, repository.spec.claim_name)
        bound = [await _bound(ctx, restore.namespace, name) for name in targets]
        in_use_on = await _in_use_on(ctx, restore.namespace, repository) if one_node else frozenset[str]()
        # Most volumes can be mounted everywhere, and a cluster may have thousands of nodes.
        limits = sum(has_affinity(one.volume) for one in (source, *bound)) + bool(in_use_on)
        nodes = await collect(ctx.cluster, NODE, None, facts_of) if limits > 1 else []
    except ForbiddenError:
        return Placement.ONE_POD
    placement = decide_placement(source, bound, in_use_on, nodes) if limits > 1 else Placement.ONE_POD
    file = restore.spec.file
    if placement is Placement.TWO_PODS and file is not None and file.format is FileFormat.OVA:
        return archive_problem(source.claim, file.claim_name)
    return placement


def archive_problem(source: str, target: str) -> Problem:
    """Return the problem of an archive whose descriptor only a pod with the repository could write."""
    text = (
        f"no node can mount the claims {source} and {target}, and an OVA can't be written from another node: use a "
        "claim that the repository's node can mount, or the format VMDK"
    )
    return Problem("ArchiveNeedsOneNode", text, Meaning.FINAL)


def decide_placement(
    source: BoundVolume, targets: Sequence[BoundVolume], in_use_on: frozenset[str], nodes: Sequence[NodeFacts]
) -> Placement | Problem:
    """Return how many pods are needed, or the problem of targets that no node can mount together.

    `source`: that of the repository, which pods use on the nodes `in_use_on` if only one node at a time can have it.
    """
    reaches = [Reach(one.claim, nodes_of_volume(one.volume, nodes)) for one in targets]
    if not have_common_node(reaches):
        places = "; ".join(str(one) for one in reaches if one.nodes)
        text = f"no node can mount the volumes of all targets: {places}. Restore the disks of each node by a Restore of"
        return Problem("NoCommonNode", f"{text} their own (spec.source.disks)", Meaning.FINAL)
    repository = narrowed(Reach(source.claim, nodes_of_volume(source.volume, nodes)), in_use_on)
    return Placement.ONE_POD if have_common_node([repository, *reaches]) else Placement.TWO_PODS


async def _bound(ctx: ReconcileContext, namespace: str, name: str) -> BoundVolume:
    claim = await find(ctx.cluster, CLAIM, namespace, name)
    volume = ((claim or {}).get("spec") or {}).get("volumeName")
    return BoundVolume(name, await find(ctx.cluster, VOLUME, None, volume) if volume else None)


async def _in_use_on(ctx: ReconcileContext, namespace: str, repository: ReadableRepository) -> frozenset[str]:
    """Return the nodes on which the repository's pods are."""

    def node(pod: Obj) -> str | None:
        return None if is_finished(pod) else pod["spec"].get("nodeName")

    return frozenset(
        await collect(ctx.cluster, POD, namespace, node, labels=f"{names.LABEL_REPOSITORY}={repository.name}")
    )
