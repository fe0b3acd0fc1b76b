"""What chart, repository and operator say of a pod, and whose word counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.objects import Obj

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.pod_template import PodTemplate
from sendense_operator.chain.memory_estimate import estimate
from sendense_operator.reconcile.state.quantity import parse_quantity
from sendense_operator.reconcile.workload.pod_overrides import (
    OPT_OUT_ANNOTATIONS,
    OPT_OUT_LABELS,
    maintenance_resources,
    merge_overrides,
    metadata,
    placement,
    resources_of,
)

KEYS = st.sampled_from(["team", "example.com/team", "tier", *OPT_OUT_LABELS, *OPT_OUT_ANNOTATIONS])
LABELS = st.dictionaries(KEYS, st.from_regex(r"[a-z0-9]{0,5}", fullmatch=True), max_size=4)
TOLERATIONS = st.lists(
    st.sampled_from([{"key": "a", "operator": "Exists"}, {"key": "b", "value": "c"}, {"operator": "Exists"}]),
    max_size=3,
    unique_by=str,
)
QUANTITIES = st.dictionaries(
    st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", 2, "16Mi", "1Gi", "1e9"]), max_size=2
)
TERM = {"labelSelector": {"matchLabels": {names.LABEL_REPOSITORY: "store"}}, "topologyKey": "kubernetes.io/hostname"}
REQUIRED, PREFERRED = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))


def nodes(label: str) -> Obj:
    term = {"matchExpressions": [{"key": label, "operator": "Exists"}]}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}


def apart(zone: str) -> Obj:
    return {"podAntiAffinity": {REQUIRED: [{"topologyKey": zone}]}}


def beside(zone: str) -> Obj:
    return {"podAffinity": {PREFERRED: [{"weight": 3, "podAffinityTerm": {"topologyKey": zone}}]}}


AFFINITIES = st.none() | st.sampled_from([nodes("x"), apart("y"), beside("z"), {**nodes("v"), **beside("w")}, {}])
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "labels": LABELS,
        "annotations": LABELS,
        "nodeSelector": LABELS,
        "tolerations": TOLERATIONS,
        "affinity": AFFINITIES,
        "priorityClassName": st.sampled_from(["low", "high"]),
        "resources": st.fixed_dictionaries({}, optional={"requests": QUANTITIES, "limits": QUANTITIES}),
    },
).map(PodTemplate.model_validate)


@given(TEMPLATES, st.none() | TEMPLATES)
def test_the_repository_wins_and_nothing_is_lost(chart: PodTemplate, own: PodTemplate | None) -> None:
    merged = merge_overrides(chart, own)
    for field in ("labels", "annotations", "node_selector"):
        theirs = getattr(own, field) if own else {}
        assert getattr(merged, field) == {**getattr(chart, field), **theirs}
    tolerations = own.tolerations if own else []
    assert all(toleration in merged.tolerations for toleration in [*chart.tolerations, *tolerations])
    assert len(merged.tolerations) == len({str(toleration) for toleration in merged.tolerations})
    assert merged.priority_class_name == ((own and own.priority_class_name) or chart.priority_class_name)


@given(TEMPLATES, st.booleans())
def test_what_the_operator_needs_is_always_there(wanted: PodTemplate, one_node: bool) -> None:
    ours = {"labels": {names.LABEL_BACKUP: "b1"}, "annotations": {names.ANNOTATION_TASK: "{}"}}
    made = metadata(wanted, **ours)
    for field, values in ours.items():
        assert values.items() <= made[field].items()
        assert getattr(wanted, field).items() <= made[field].items()
    spec = placement(wanted, beside=TERM if one_node else None)
    terms = spec.get("affinity", {}).get("podAffinity", {}).get(REQUIRED, [])
    assert terms == ([TERM] if one_node else [])
    assert spec.keys() <= {"nodeSelector", "tolerations", "affinity", "priorityClassName"}


@given(TEMPLATES)
def test_maintenance_never_has_less_memory_than_the_program_needs(wanted: PodTemplate) -> None:
    given_, found = resources_of(wanted), maintenance_resources(wanted)
    limit = found.get("limits", {}).get("memory")
    assert (limit is None) == (given_.get("limits", {}).get("memory") is None)
    assert limit is None or parse_quantity(limit) >= estimate(())


def test_nobody_overrides_ours() -> None:
    """Even where admission let it pass."""
    wanted = PodTemplate.model_construct(
        labels={names.LABEL_BACKUP: "other"}, annotations={names.ANNOTATION_TASK: "other"}
    )
    made = metadata(wanted, {names.LABEL_BACKUP: "b1"}, {names.ANNOTATION_TASK: "{}"})
    assert made["labels"][names.LABEL_BACKUP] == "b1"
    assert made["annotations"][names.ANNOTATION_TASK] == "{}"


def test_both_may_be_full() -> None:
    chart, own = (
        PodTemplate.model_validate(
            {
                "labels": {f"{who}-{index}": "" for index in range(32)},
                "tolerations": [{"key": f"{who}-{index}"} for index in range(32)],
                "resources": {"limits": {f"example.com/{who}-{index}": 1 for index in range(16)}},
            }
        )
        for who in ("chart", "own")
    )
    merged = merge_overrides(chart, own)
    assert len(merged.labels) == len(placement(merged, beside=None)["tolerations"]) == 64
    assert len(resources_of(merged)["limits"]) == 32


def test_affinity_is_replaced_part_by_part() -> None:
    chart = PodTemplate.model_validate({"affinity": {**nodes("chart"), **apart("chart")}})
    own = PodTemplate.model_validate({"affinity": {**nodes("own"), **beside("own")}})
    spec = placement(merge_overrides(chart, own), beside=TERM)["affinity"]
    (term,) = spec["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert [expression["key"] for expression in term["matchExpressions"]] == ["own"]
    assert [term["topologyKey"] for term in spec["podAntiAffinity"][REQUIRED]] == ["chart"]
    assert spec["podAffinity"][PREFERRED][0]["podAffinityTerm"]["topologyKey"] == "own"
    assert spec["podAffinity"][REQUIRED] == [TERM]


def test_resources_are_replaced_one_by_one() -> None:
    chart = PodTemplate.model_validate({"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}})
    own = PodTemplate.model_validate({"resources": {"limits": {"memory": "2Gi", "cpu": 0.5}}})
    assert resources_of(merge_overrides(chart, own)) == {
        "requests": {"cpu": "100m"},
        "limits": {"memory": "2Gi", "cpu": "0.5"},
    }


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("labels", {"backup.sendense.io/backup": "x"}, "reserved"),
        ("labels", {"app.kubernetes.io/name": "x"}, "reserved"),
        ("labels", {"batch.kubernetes.io/job-name": "x"}, "reserved"),
        ("labels", {"job-name": "x"}, "reserved"),
        ("labels", {"a b": "x"}, "a b"),
        ("labels", {"../a": "x"}, "a"),
        ("labels", {"x" * 64: "x"}, "63 characters"),
        ("labels", {"a": "x y"}, "labels.a"),
        ("labels", {f"k{index}": "" for index in range(33)}, "32"),
        ("annotations", {"backup.sendense.io/task": "x"}, "reserved"),
        ("annotations", {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"}, "reserved"),
        ("annotations", {"kubernetes.io/config.mirror": "x"}, "reserved"),
        ("nodeSelector", {"a/b/c": "x"}, "a/b/c"),
        ("tolerations", [{"operator": "exists"}], "tolerations.0.operator"),
        ("priorityClassName", "Low_", "priorityClassName"),
        ("resources", {"limits": {"memory": "lots"}}, "resources.limits.memory"),
        ("resources", {"limits": {"memory": -1}}, "resources.limits.memory"),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value: Any, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PodTemplate.model_validate({field: value})
    assert named in str(refused.value)


@pytest.mark.parametrize("key", ["app.kubernetes.io/part-of", "cluster-autoscaler.kubernetes.io/safe-to-evict", "a"])
def test_keys_that_are_nobodys_may_be_used(key: str) -> None:
    assert PodTemplate.model_validate({"labels": {key: ""}, "annotations": {key: ""}}).labels == {key: ""}
