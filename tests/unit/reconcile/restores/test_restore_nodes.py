"""Whether the claims of a Restore have a node in common, and what is said if they have not."""

from __future__ import annotations

from tests.support.objects import Obj

from sendense_operator.reconcile.restores.restore_nodes import BoundVolume, decide_nodes
from sendense_operator.reconcile.state.problem import Meaning
from sendense_operator.reconcile.workload.volume_nodes import NodeFacts

NODES = tuple(NodeFacts(name, {"kubernetes.io/hostname": name}) for name in ("n1", "n2", "n3"))


def on(*nodes: str) -> Obj:
    """Return a volume that can be mounted on these nodes."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}]}
    return {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}


def test_volumes_of_two_nodes() -> None:
    problem = decide_nodes(
        BoundVolume("store", on("n1")), [BoundVolume("a", on("n1")), BoundVolume("b", on("n2"))], frozenset(), NODES
    )
    assert problem is not None
    assert (problem.reason, problem.meaning) == ("NoCommonNode", Meaning.FINAL)
    assert "claim store on n1; claim a on n1; claim b on n2" in problem.message
    assert "spec.target.nbd" in problem.message


def test_one_node_for_all() -> None:
    source = BoundVolume("store", on("n1", "n2"))
    assert decide_nodes(source, [BoundVolume("a", on("n2", "n3"))], frozenset(), NODES) is None
    assert decide_nodes(source, [BoundVolume("a", None)], frozenset({"n1"}), NODES) is None


def test_targets_apart_from_each_other() -> None:
    targets = [BoundVolume("a", on("n1")), BoundVolume("b", on("n2"))]
    problem = decide_nodes(BoundVolume("store", None), targets, frozenset(), NODES)
    assert problem is not None
    assert problem.meaning is Meaning.FINAL


def test_pods_of_the_repository_are_waited_for() -> None:
    problem = decide_nodes(BoundVolume("store", None), [BoundVolume("a", on("n2"))], frozenset({"n1"}), NODES)
    assert problem is not None
    assert (problem.reason, problem.meaning) == ("NoCommonNode", Meaning.WAIT)
    assert "claim store on n1; claim a on n2" in problem.message


def test_a_volume_that_no_node_can_mount_is_the_schedulers_matter() -> None:
    assert decide_nodes(BoundVolume("store", on("n9")), [BoundVolume("a", on("n2"))], frozenset(), NODES) is None
