"""On which nodes a volume can be mounted, as the scheduler decides it."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.objects import Obj

from sendense_operator.reconcile.workload.volume_nodes import (
    NodeFacts,
    Reach,
    facts_of,
    has_affinity,
    have_common_node,
    narrowed,
    nodes_of_volume,
)

NODES = (
    NodeFacts("n1", {"kubernetes.io/hostname": "n1", "zone": "a", "disks": "4"}),
    NodeFacts("n2", {"kubernetes.io/hostname": "n2", "zone": "b", "disks": "12"}),
    NodeFacts("n3", {"kubernetes.io/hostname": "n3", "zone": "b"}),
)


def volume(*terms: Obj) -> Obj:
    return {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": list(terms)}}}}


def expression(key: str, operator: str, *values: str) -> Obj:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (expression("zone", "In", "a", "c"), {"n1"}),
        (expression("zone", "NotIn", "a"), {"n2", "n3"}),
        (expression("disks", "NotIn", "4"), {"n2", "n3"}),
        (expression("disks", "Exists"), {"n1", "n2"}),
        (expression("disks", "DoesNotExist"), {"n3"}),
        (expression("disks", "Gt", "4"), {"n2"}),
        (expression("disks", "Lt", "12"), {"n1"}),
        (expression("zone", "Gt", "1"), set()),
        (expression("disks", "Gt"), set()),
        (expression("zone", "Resembles", "a"), {"n1", "n2", "n3"}),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n3"]}]}, {"n3"}),
        ({}, set()),
    ],
)
def test_one_term(term: Obj, expected: set[str]) -> None:
    assert nodes_of_volume(volume(term), NODES) == frozenset(expected)


def test_terms_are_alternatives_and_their_requirements_are_not() -> None:
    both = {
        "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["b"]},
            {"key": "disks", "operator": "Exists"},
        ]
    }
    assert nodes_of_volume(volume(both), NODES) == frozenset({"n2"})
    assert nodes_of_volume(volume(both, expression("zone", "In", "a")), NODES) == frozenset({"n1", "n2"})
    assert nodes_of_volume(volume(), NODES) == frozenset()


@pytest.mark.parametrize("unbound", [None, {}, {"spec": {}}, {"spec": {"nodeAffinity": {}}}])
def test_without_an_affinity_it_follows_the_pod(unbound: Obj | None) -> None:
    assert nodes_of_volume(unbound, NODES) is None
    assert not has_affinity(unbound)
    assert has_affinity(volume())


def test_a_node() -> None:
    assert facts_of({"metadata": {"name": "n1", "labels": {"a": "b"}}}) == NodeFacts("n1", {"a": "b"})
    assert facts_of({"metadata": {"name": "n1"}}) == NodeFacts("n1")


_SETS = st.none() | st.frozensets(st.sampled_from(["n1", "n2", "n3"]))


@given(st.lists(_SETS, max_size=5))
def test_a_common_node_is_in_each_volume_that_has_any(found: list[frozenset[str] | None]) -> None:
    everything = frozenset({"n1", "n2", "n3"})
    expected = reduce(frozenset.intersection, [one or everything for one in found], everything)
    assert have_common_node([Reach("c", one) for one in found]) is bool(expected)


@given(_SETS, st.frozensets(st.sampled_from(["n1", "n2", "n3"])))
def test_pods_only_narrow(found: frozenset[str] | None, used: frozenset[str]) -> None:
    reach = narrowed(Reach("c", found), used)
    if not used:
        assert reach.nodes == found
    else:
        assert reach.nodes == (used if found is None else found & used)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [({"n2"}, "claim c on n2"), ({"n5", "n1", "n2", "n4", "n3"}, "claim c on n1, n2, n3 and 2 more")],
)
def test_a_message_names_few_nodes(nodes: set[str], text: Any) -> None:
    assert str(Reach("c", frozenset(nodes))) == text
