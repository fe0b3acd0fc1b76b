"""The index finds each VM that a policy chooses, whatever its labels were before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reconcile.protection.test_selection import policy, vm

from sendense_operator.api.v1alpha1.label_selector import LabelSelector
from sendense_operator.reconcile.protection.selection import VMEntry, select
from sendense_operator.reconcile.protection.vm_index import VMIndex

NAMES = st.sampled_from(["a", "b", "c", "d"])
LABELS = st.dictionaries(st.sampled_from(["tier", "site"]), st.sampled_from(["x", "y"]))
EXPRESSIONS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["tier", "site"]),
        "operator": st.just("In"),
        "values": st.lists(st.sampled_from("xyz"), min_size=1),
    }
) | st.fixed_dictionaries(
    {"key": st.sampled_from(["tier", "site"]), "operator": st.sampled_from(["Exists", "DoesNotExist"])}
)
SELECTORS = st.fixed_dictionaries({"matchLabels": LABELS, "matchExpressions": st.lists(EXPRESSIONS, max_size=2)}).map(
    LabelSelector.model_validate
)


@given(
    steps=st.lists(st.tuples(NAMES, LABELS | st.none()), max_size=20),
    selector=SELECTORS | st.none(),
    refs=st.lists(NAMES, max_size=2),
)
def test_it_finds_what_a_search_of_all_finds(
    steps: list[tuple[str, dict[str, str] | None]], selector: LabelSelector | None, refs: list[str]
) -> None:
    index = VMIndex(lambda _: None)
    index.put(VMEntry("uid-other", "other", "a", {"tier": "x"}, gone=False))
    for name, labels in steps:
        if labels is None:
            index.remove(f"uid-{name}")
        else:
            index.put(VMEntry(f"uid-{name}", "shop", name, labels, gone=False))
    which = replace(policy(refs=tuple(refs)), selector=selector)
    assert select(which, index.candidates(which), []) == select(which, index.of("shop"), [])


def test_a_few_of_many() -> None:
    index = VMIndex(lambda _: None)
    index.replace((vm(f"vm{n}", tier="gold" if n < 10 else "none") for n in range(1000)), None)
    assert len(list(index.candidates(policy(tier="gold")))) == 10


def test_nothing_is_kept_of_what_is_gone() -> None:
    index = VMIndex(lambda _: None)
    entries: list[VMEntry] = [vm("a", tier="gold"), vm("b", tier="gold", site="x")]
    index.replace(entries, None)
    index.replace([], None)
    assert (index._labels, index._labelled) == ({}, {})
