"""Which labels of an object a discovery changes, and which ones it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.objects import Obj
from tests.wiring.plain import merged

from sendense_operator.api.v1alpha1.discovery import MAX_LABEL_RULES, MAX_RULE_LABELS
from sendense_operator.api.v1alpha1.labels import MAX_KEY
from sendense_operator.api.v1alpha1.names import ANNOTATION_DISCOVERY_LABELS, LABEL_DISCOVERED_BY
from sendense_operator.reconcile.vcenter.discovery_labels import label_changes

OWN = {LABEL_DISCOVERED_BY: "vma"}
Labels = dict[str, str]


def labelled(labels: Labels, record: str | None = None) -> Obj:
    """As a discovery made it, and others changed it since."""
    metadata: Obj = {"name": "db", "labels": {**OWN, **labels}}
    if record is not None:
        metadata["annotations"] = {ANNOTATION_DISCOVERY_LABELS: record}
    return {"metadata": metadata}


def after(obj: Obj, wanted: Labels) -> Obj:
    """As the API server changes it."""
    return merged(obj, {"metadata": label_changes(obj, wanted)})


def state(obj: Obj) -> tuple[Labels, str | None]:
    """Return the labels besides the operator's own, and the record."""
    meta = obj["metadata"]
    labels = {key: value for key, value in meta["labels"].items() if key not in OWN}
    return labels, (meta.get("annotations") or {}).get(ANNOTATION_DISCOVERY_LABELS)


@pytest.mark.parametrize(
    ("labels", "record", "wanted", "expected"),
    [
        ({}, None, {"tier": "gold", "a": ""}, ({"tier": "gold", "a": ""}, "a,tier")),
        ({"team": "shop"}, None, {"tier": "gold"}, ({"team": "shop", "tier": "gold"}, "tier")),
        # A key that was there before is not taken over, whatever its value.
        ({"tier": "silver"}, None, {"tier": "gold"}, ({"tier": "silver"}, None)),
        ({"tier": "gold"}, None, {"tier": "gold"}, ({"tier": "gold"}, None)),
        ({"tier": "gold"}, None, {}, ({"tier": "gold"}, None)),
        # What is recorded follows the rules, whatever somebody else made of it.
        ({"tier": "silver"}, "tier", {"tier": "gold"}, ({"tier": "gold"}, "tier")),
        ({}, "tier", {"tier": "gold"}, ({"tier": "gold"}, "tier")),
        ({"tier": "bronze", "team": "shop"}, "tier", {}, ({"team": "shop"}, None)),
        ({}, "tier", {}, ({}, None)),
        ({"tier": "gold", "a": "x"}, "a,tier", {"tier": "gold", "b": "y"}, ({"tier": "gold", "b": "y"}, "b,tier")),
        # A record that somebody edited.
        ({"tier": "silver"}, "x,tier,,a b,", {"tier": "gold"}, ({"tier": "gold"}, "tier")),
        ({"tier": "gold"}, f"{LABEL_DISCOVERED_BY},tier", {"tier": "gold"}, ({"tier": "gold"}, "tier")),
        ({}, LABEL_DISCOVERED_BY, {}, ({}, None)),
    ],
)
def test_what_becomes_of_labels(
    labels: Labels, record: str | None, wanted: Labels, expected: tuple[Labels, str | None]
) -> None:
    changed = after(labelled(labels, record), wanted)
    assert state(changed) == expected
    assert changed["metadata"]["labels"].items() >= OWN.items()


@pytest.mark.parametrize(("record", "wanted"), [(None, {}), ("", {}), ("tier", {"tier": "gold"})])
def test_nothing_to_do(record: str | None, wanted: Labels) -> None:
    assert label_changes(labelled({"tier": "gold"}, record), wanted) == {}


def test_what_others_keep_in_annotations_stays() -> None:
    obj = labelled({})
    obj["metadata"]["annotations"] = {"note": "x"}
    assert after(after(obj, {"a": "x"}), {})["metadata"]["annotations"] == {"note": "x"}


def test_the_longest_record_fits_into_an_annotation() -> None:
    assert MAX_LABEL_RULES * MAX_RULE_LABELS * (MAX_KEY + 1) < 256 << 10


maps = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["", "x", "y"]))


@given(by_hand=maps, rules=st.lists(maps, max_size=4))
def test_labels_set_by_hand_outlive_every_rule(by_hand: Labels, rules: list[Labels]) -> None:
    """What was there before discovery stays as it was; the others are what the last rules say; then nothing is left."""
    obj = labelled(by_hand)
    for wanted in rules:
        obj = after(obj, wanted)
        assert state(obj)[0] == {**wanted, **by_hand}
        assert label_changes(obj, wanted) == {}
    assert state(after(obj, {})) == (by_hand, None)


@given(labels=maps, record=maps, wanted=maps)
def test_every_change_is_complete(labels: Labels, record: Labels, wanted: Labels) -> None:
    """Whatever is on the object: one change is enough, and it touches no label that discovery does not own."""
    obj = labelled(labels, ",".join(record))
    changed = after(obj, wanted)
    assert label_changes(changed, wanted) == {}
    foreign = {key: value for key, value in labels.items() if key not in record}
    assert state(changed)[0] == {**wanted, **foreign}
