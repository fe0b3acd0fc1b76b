"""Which VMs a policy backs up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.support import sample

from sendense_operator.api.v1alpha1.label_selector import LabelSelector
from sendense_operator.reconcile.protection.namespace_index import NamespaceIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, VMEntry, matches, select

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def vm(name: str, *, gone: bool = False, namespace: str = "shop", **labels: str) -> VMEntry:
    return VMEntry(f"uid-{name}", namespace, name, labels, gone)


def policy(
    name: str = "p", *, age: int = 0, refs: tuple[str, ...] = (), repository: str = "store", **labels: str
) -> PolicyEntry:
    selector = LabelSelector(match_labels=labels) if labels else None
    begin = T0 - timedelta(seconds=age)
    return PolicyEntry(f"uid-{name}", "shop", name, begin, 1, selector, frozenset(refs), repository)


LABELS = {"tier": "gold", "site": "a"}


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, False),
        ({"matchLabels": {"tier": "gold"}}, True),
        ({"matchLabels": {"tier": "gold", "site": "b"}}, False),
        ({"matchExpressions": [{"key": "site", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "site", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "none", "operator": "In", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"tier": "gold"}, "matchExpressions": [{"key": "none", "operator": "Exists"}]}, False),
    ],
)
def test_selectors(selector: dict[str, object], fits: bool) -> None:
    assert matches(LabelSelector.model_validate(selector), LABELS) is fits


def test_by_label_and_by_name() -> None:
    found = select(policy(refs=("c", "x"), tier="gold"), [vm("a", tier="gold"), vm("b"), vm("c")], [])
    assert found.vms == ("a", "c")
    assert found.missing == ("x",)


def test_gone_vms_are_told_apart() -> None:
    found = select(policy(tier="gold"), [vm("a", tier="gold"), vm("b", tier="gold", gone=True)], [])
    assert (found.vms, found.gone) == (("a",), ("b",))


def test_the_older_policy_rules() -> None:
    old, new, elsewhere = (
        policy("old", age=60, tier="gold"),
        policy("new", refs=("a", "b")),
        policy("far", age=90, refs=("a",), repository="other"),
    )
    vms, every = [vm("a", tier="gold"), vm("b")], [new, old, elsewhere]
    assert select(old, vms, every).vms == ("a",)
    assert select(new, vms, every).vms == ("b",)
    assert select(new, vms, every).conflicts == {"a": "old"}
    assert select(elsewhere, vms, every).conflicts == {}


def test_of_two_policies_of_the_same_second_one_rules() -> None:
    one, two = policy("one", refs=("a",)), policy("two", refs=("a",))
    chosen = [select(which, [vm("a")], [one, two]).vms for which in (one, two)]
    assert sorted(chosen) == [(), ("a",)]


def test_a_policy_of_another_version_selects_nothing() -> None:
    """It must not keep the others from being read."""
    obj = sample.custom("BackupPolicy", "p", {"vmRefs": "all", "repositoryRef": {"name": "store"}})
    assert not PolicyEntry.of(obj).selects(vm("a"))


def test_the_index_reports_changes_of_what_matters() -> None:
    changed: list[str] = []
    index = NamespaceIndex[VMEntry](lambda entry: changed.append(entry.namespace))
    index.replace([vm("a"), vm("b", namespace="other")], None)
    assert changed == ["shop", "other"]
    assert not index.put(vm("a"))
    assert index.put(vm("a", tier="gold"))
    assert index.of("shop") == [vm("a", tier="gold")]
    index.replace([], "shop")
    assert index.of("shop") == []
    assert [one.name for one in index.of("other")] == ["b"]
    assert changed == ["shop", "other", "shop", "shop"]
    assert not index.remove("uid-a")
