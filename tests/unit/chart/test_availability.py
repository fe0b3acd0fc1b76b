"""What keeps programs up while nodes are drained or lost: budgets, spread and placement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.support.objects import Obj

from .conftest import PROGRAMS, Render, all_of, complaint, one, template_of

EACH: Final = pytest.mark.parametrize(("program", "part"), PROGRAMS.items(), ids=list(PROGRAMS))
HOST: Final = "kubernetes.io/hostname"
ZONE: Final[Obj] = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
}


def _pod(objects: list[Obj], program: str) -> Obj:
    pod: Obj = template_of(objects, program)["spec"]
    return pod


def _budgets(objects: list[Obj]) -> dict[str, Obj]:
    return {
        item["metadata"]["name"].rpartition("-")[2]: item["spec"] for item in all_of(objects, "PodDisruptionBudget")
    }


def _budget(replicas: int, **budget: Any) -> Obj:
    return {part: {"replicas": replicas, "podDisruptionBudget": budget} for part in PROGRAMS.values()}


def test_a_drain_takes_one_pod_after_the_other(render: Render) -> None:
    objects = render(_budget(2))
    budgets = _budgets(objects)
    assert set(budgets) == set(PROGRAMS)
    for program, spec in budgets.items():
        assert spec == {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": one(objects, "Deployment", f"-{program}")["spec"]["selector"],
        }


@pytest.mark.parametrize(
    ("values", "having"),
    [
        ({}, {"gateway", "api"}),
        (_budget(1), set()),
        (_budget(1, minAvailable=1), set()),
        (_budget(0, minAvailable="100%"), set()),
        (_budget(2, enabled=False), set()),
        # as an upgrade that only has the values of the release before
        ({"rest": {"podDisruptionBudget": None}}, {"gateway"}),
        ({"rest": {"enabled": False}}, {"gateway"}),
    ],
)
def test_a_single_pod_has_no_budget_that_could_block_a_drain(render: Render, values: Obj, having: set[str]) -> None:
    assert set(_budgets(render(values))) == having


@pytest.mark.parametrize(
    ("replicas", "budget", "expected"),
    [
        (2, {"minAvailable": 1}, {"minAvailable": 1}),
        (2, {"minAvailable": "50%"}, {"minAvailable": "50%"}),
        (5, {"minAvailable": 4}, {"minAvailable": 4}),
        (5, {"minAvailable": "80%", "maxUnavailable": 2}, {"minAvailable": "80%"}),
        (3, {"maxUnavailable": "34%"}, {"maxUnavailable": "34%"}),
        (3, {"maxUnavailable": 2}, {"maxUnavailable": 2}),
        (3, {"maxUnavailable": None}, {"maxUnavailable": 1}),
    ],
)
def test_a_budget_of_ones_own(render: Render, replicas: int, budget: Obj, expected: Obj) -> None:
    for spec in _budgets(render(_budget(replicas, **budget))).values():
        assert {name: value for name, value in spec.items() if "vailable" in name} == expected


@pytest.mark.parametrize(
    ("part", "replicas", "least"),
    [
        ("controller", 2, 2),
        ("controller", 5, "81%"),
        ("gateway", 5, 5),
        ("gateway", 3, "100%"),
        ("rest", 5, 6),
        ("rest", 2, "51%"),
    ],
)
def test_a_budget_that_blocks_every_drain_is_refused(
    refusal: Callable[[Obj], str], part: str, replicas: int, least: int | str
) -> None:
    text = refusal({part: {"replicas": replicas, "podDisruptionBudget": {"minAvailable": least}}})
    assert f"{part}.podDisruptionBudget.minAvailable={least}" in text
    assert f"{part}.replicas={replicas}" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"maxUnavailable": 0, "minAvailable": 0},
        {"maxUnavailable": "0%", "minAvailable": "half"},
        {"maxUnavailable": "1", "minAvailable": "101%"},
        {"minAvailable": 1.5, "enabled": "yes"},
    ],
    ids=str,
)
def test_wrong_budgets_are_refused_by_name(refusal: Callable[[Obj], str], wrong: Obj) -> None:
    text = refusal({part: {"podDisruptionBudget": wrong} for part in PROGRAMS.values()})
    for part in PROGRAMS.values():
        for field in wrong:
            complaint(text, f"/{part}/podDisruptionBudget/{field}")


def test_a_budget_of_unknown_fields_is_refused(refusal: Callable[[Obj], str]) -> None:
    text = refusal({part: {"podDisruptionBudget": {"maxUnavailabel": 1}} for part in PROGRAMS.values()})
    for part in PROGRAMS.values():
        assert "maxUnavailabel" in complaint(text, f"/{part}/podDisruptionBudget")


@EACH
def test_by_default_each_node_gets_one_pod_if_that_is_possible(render: Render, program: str, part: str) -> None:
    objects = render()
    (constraint,) = _pod(objects, program)["topologySpreadConstraints"]
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": HOST,
        "whenUnsatisfiable": "ScheduleAnyway",
        "matchLabelKeys": ["pod-template-hash"],
        "labelSelector": one(objects, "Deployment", f"-{program}")["spec"]["selector"],
    }


@pytest.mark.parametrize(
    ("affinity", "spread"),
    [
        ({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}, True),
        ({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}, False),
        ({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}, False),
    ],
)
def test_rules_about_pods_replace_the_default_spread(render: Render, affinity: Obj, spread: bool) -> None:
    objects = render({part: {"affinity": affinity} for part in PROGRAMS.values()})
    for program in PROGRAMS:
        assert ("topologySpreadConstraints" in _pod(objects, program)) is spread
        assert _pod(objects, program)["affinity"] == affinity


def test_constraints_of_ones_own_are_about_the_program_s_pods(render: Render) -> None:
    own = {**ZONE, "topologyKey": HOST, "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    objects = render({part: {"topologySpreadConstraints": [ZONE, own]} for part in PROGRAMS.values()})
    for program in PROGRAMS:
        selector = one(objects, "Deployment", f"-{program}")["spec"]["selector"]
        assert _pod(objects, program)["topologySpreadConstraints"] == [{**ZONE, "labelSelector": selector}, own]


def test_wrong_constraints_are_refused_by_name(refusal: Callable[[Obj], str]) -> None:
    wrong: list[tuple[Obj, str, str]] = [
        ({"topologyKey": HOST}, "", "maxSkew"),
        ({**ZONE, "maxSkew": "1"}, "/maxSkew", "want integer"),
        ({**ZONE, "maxSkew": 0}, "/maxSkew", "minimum"),
        ({**ZONE, "topologyKey": ""}, "/topologyKey", "minLength"),
        ({**ZONE, "whenUnsatisfiable": "Never"}, "/whenUnsatisfiable", "DoNotSchedule"),
        ({**ZONE, "matchLabelKeys": "pod-template-hash"}, "/matchLabelKeys", "want array"),
        ({**ZONE, "nodeTaintsPolicy": "honor"}, "/nodeTaintsPolicy", "Honor"),
        ({**ZONE, "labelSelectors": {}}, "", "labelSelectors"),
    ]
    constraints = [constraint for constraint, _, _ in wrong]
    text = refusal({part: {"topologySpreadConstraints": constraints} for part in PROGRAMS.values()})
    for part in PROGRAMS.values():
        for number, (_, field, said) in enumerate(wrong):
            assert said in complaint(text, f"/{part}/topologySpreadConstraints/{number}{field}")


@EACH
def test_pods_are_placed_as_wanted(render: Render, program: str, part: str) -> None:
    placement: Obj = {
        "nodeSelector": {"node-role.kubernetes.io/infra": ""},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
    }
    objects = render({part: placement})
    pod = _pod(objects, program)
    assert placement.items() <= pod.items()
    others = [_pod(objects, other) for other in PROGRAMS if other != program]
    assert not [other for other in others if set(placement) & set(other)]


def test_wrong_placement_is_refused_by_name(refusal: Callable[[Obj], str]) -> None:
    wrong: Obj = {
        "nodeSelector": {"a": 1},
        "tolerations": {"key": "a"},
        "affinity": [],
        "priorityClassName": "High Priority",
        "topologySpreadConstraints": {},
    }
    text = refusal(dict.fromkeys(PROGRAMS.values(), wrong))
    for part in PROGRAMS.values():
        for field in wrong:
            complaint(text, f"/{part}/{field}/a" if field == "nodeSelector" else f"/{part}/{field}")
