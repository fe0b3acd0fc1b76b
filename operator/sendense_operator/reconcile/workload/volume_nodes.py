"""On which nodes volumes can be mounted, and whether there is one for all volumes of a pod. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import human_list

_MOST_NAMES: Final = 3
"""Nodes that a message names."""


@dataclass(frozen=True)
class NodeFacts:
    """What decides whether a volume can be mounted on a node."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reach:
    """Where the volume of a claim can be mounted."""

    claim: str
    nodes: frozenset[str] | None
    """Names of nodes; None: any, or it is decided only when the pod is scheduled."""

    def __str__(self) -> str:
        return f"claim {self.claim} on {human_list(sorted(self.nodes or ()), _MOST_NAMES)}"


def facts_of(node: Obj) -> NodeFacts:
    """Return what counts of a node."""
    meta = node["metadata"]
    return NodeFacts(meta["name"], meta.get("labels") or {})


def has_affinity(volume: Obj | None) -> bool:
    """Return whether a PersistentVolume says on which nodes it can be mounted."""
    return _required(volume) is not None


def _required(volume: Obj | None) -> Obj | None:
    found: Obj | None = (((volume or {}).get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return found


def nodes_of_volume(volume: Obj | None, nodes: Sequence[NodeFacts]) -> frozenset[str] | None:
    """Return the nodes that the affinity of a PersistentVolume allows; None: any, also if it is not bound yet."""
    required = _required(volume)
    if required is None:
        return None
    terms = required.get("nodeSelectorTerms") or []
    return frozenset(node.name for node in nodes if any(_meets(term, node) for term in terms))


def _meets(term: Obj, node: NodeFacts) -> bool:
    """Return whether a node meets a term: all of its requirements. One without any is met by no node."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    met = [_is_met(one, node.labels) for one in expressions]
    met += [_is_met(one, {"metadata.name": node.name}) for one in fields]
    return bool(met) and all(met)


def _is_met(requirement: Obj, values: Mapping[str, str]) -> bool:
    """Return whether a requirement is met. One that is not known counts as met: the scheduler has the last word."""
    found, wanted = values.get(requirement["key"]), requirement.get("values") or []
    match requirement.get("operator"):
        case "In":
            return found in wanted
        case "NotIn":
            return found not in wanted
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt":
            return _is_greater(found, wanted[0] if wanted else None)
        case "Lt":
            return _is_greater(wanted[0] if wanted else None, found)
    return True


def _is_greater(left: str | None, right: str | None) -> bool:
    try:
        return left is not None and right is not None and int(left) > int(right)
    except ValueError:
        return False


def narrowed(reach: Reach, in_use_on: frozenset[str]) -> Reach:
    """Return the reach of a volume that one node at a time can have, while pods use it on these nodes."""
    if not in_use_on:
        return reach
    return Reach(reach.claim, in_use_on if reach.nodes is None else reach.nodes & in_use_on)


def have_common_node(reaches: Sequence[Reach]) -> bool:
    """Return whether one node can mount all these volumes.

    A volume that no node can mount does not count: that is no matter of the others, and the scheduler tells it.
    """
    bound = [one.nodes for one in reaches if one.nodes]
    return not bound or bool(reduce(frozenset.intersection, bound))
