"""By how many pods a Restore is done, and what is said if no pod can mount its targets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.objects import Obj

from sendense_operator.reconcile.restores.restore_nodes import BoundVolume, Placement, decide_placement
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.volume_nodes import NodeFacts

NODES = tuple(NodeFacts(name, {"kubernetes.io/hostname": name}) for name in ("n1", "n2", "n3"))


def on(*nodes: str) -> Obj:
    """Return a volume that can be mounted on these nodes."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}]}
    return {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}


def test_one_node_for_all() -> None:
    source = BoundVolume("store", on("n1", "n2"))
    assert decide_placement(source, [BoundVolume("a", on("n2", "n3"))], frozenset(), NODES) is Placement.ONE_POD
    assert decide_placement(source, [BoundVolume("a", None)], frozenset({"n1"}), NODES) is Placement.ONE_POD


def test_repository_and_targets_apart() -> None:
    targets = [BoundVolume("a", on("n2")), BoundVolume("b", on("n2", "n3")), BoundVolume("c", None)]
    assert decide_placement(BoundVolume("store", on("n1")), targets, frozenset(), NODES) is Placement.TWO_PODS


def test_pods_of_the_repository_are_elsewhere() -> None:
    targets = [BoundVolume("a", on("n2"))]
    assert decide_placement(BoundVolume("store", None), targets, frozenset({"n1"}), NODES) is Placement.TWO_PODS
    assert decide_placement(BoundVolume("store", None), targets, frozenset({"n2"}), NODES) is Placement.ONE_POD


def test_targets_apart_from_each_other() -> None:
    targets = [BoundVolume("a", on("n1")), BoundVolume("b", on("n2"))]
    problem = decide_placement(BoundVolume("store", None), targets, frozenset(), NODES)
    assert isinstance(problem, Problem)
    assert (problem.reason, problem.meaning) == ("NoCommonNode", Meaning.FINAL)
    assert "claim a on n1; claim b on n2" in problem.message


def test_a_volume_that_no_node_can_mount_is_the_schedulers_matter() -> None:
    targets = [BoundVolume("a", on("n2"))]
    assert decide_placement(BoundVolume("store", on("n9")), targets, frozenset(), NODES) is Placement.ONE_POD


_NAMES = st.frozensets(st.sampled_from(["n1", "n2", "n3"]), min_size=1)


@given(st.none() | _NAMES, st.lists(st.none() | _NAMES, min_size=1, max_size=3), st.none() | _NAMES)
def test_as_few_pods_as_the_nodes_allow(
    source: frozenset[str] | None, targets: list[frozenset[str] | None], used: frozenset[str] | None
) -> None:
    def volume(name: str, nodes: frozenset[str] | None) -> BoundVolume:
        return BoundVolume(name, on(*nodes) if nodes else None)

    bound = [volume(f"t{number}", nodes) for number, nodes in enumerate(targets)]
    found = decide_placement(volume("store", source), bound, used or frozenset(), NODES)
    everywhere = {node.name for node in NODES}
    for_targets = everywhere.intersection(*(nodes or everywhere for nodes in targets))
    for_source = (source or everywhere) & (used or everywhere)
    if not for_targets:
        assert isinstance(found, Problem)
    elif for_source & for_targets or not for_source:
        assert found is Placement.ONE_POD
    else:
        assert found is Placement.TWO_PODS
