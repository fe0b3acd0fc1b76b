"""Labels and annotations of all objects, and of pods: the user's are added, the chart's own stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from tests.support.objects import Obj

from .conftest import CHART, CHECKOUT, PROGRAMS, Render, all_of, complaint, one

KEEP: Final = "helm.sh/resource-policy"
EVERYTHING: Final[Obj] = {
    "commonLabels": {"team": "backup", "tier": "common"},
    "commonAnnotations": {"example.com/owner": "sre", "example.com/own": "common", KEEP: "delete"},
    "watchNamespaces": ["team-a"],
    "rest": {
        "podLabels": {"tier": "rest"},
        "podAnnotations": {"example.com/pod": "yes"},
        "deploymentAnnotations": {"example.com/own": "rest"},
        "serviceAccount": {"annotations": {"example.com/own": "account"}},
        "service": {"annotations": {"example.com/own": "service"}},
        "ingress": {"enabled": True, "host": "a.example", "annotations": {"example.com/own": "ingress"}},
        "gateway": {"enabled": True, "parentRefs": [{"name": "public"}]},
    },
}


@pytest.mark.parametrize("values", [EVERYTHING, {**EVERYTHING, "watchNamespaces": []}])
def test_every_object_has_the_common_labels_and_annotations(render: Render, values: Obj) -> None:
    objects = render(values)
    kinds = {item["kind"] for item in objects}
    assert {"CustomResourceDefinition", "PodDisruptionBudget", "Ingress", "HTTPRoute", "NetworkPolicy"} <= kinds
    for item in objects:
        metadata = item["metadata"]
        assert metadata["labels"]["team"] == "backup", metadata["name"]
        assert metadata["labels"]["app.kubernetes.io/name"] == "sendense-backup"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert metadata["annotations"]["example.com/owner"] == "sre", metadata["name"]


def test_an_object_s_own_annotations_win(render: Render) -> None:
    objects = render(EVERYTHING)
    for kind, own in (
        ("Deployment", "rest"),
        ("ServiceAccount", "account"),
        ("Service", "service"),
        ("Ingress", "ingress"),
    ):
        assert one(objects, kind, "-api")["metadata"]["annotations"]["example.com/own"] == own
    assert one(objects, "Deployment", "-gateway")["metadata"]["annotations"]["example.com/own"] == "common"


def test_no_common_annotation_lets_helm_delete_what_must_stay(render: Render) -> None:
    """CRDs take every object of their kind along, and another callback key means other URLs."""
    objects = render(EVERYTHING)
    kept = [*all_of(objects, "CustomResourceDefinition"), one(objects, "Secret", "-callbacks")]
    assert {item["metadata"]["annotations"][KEEP] for item in kept} == {"keep"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_annotations_of_deployments_and_of_pods_are_apart(render: Render, program: str) -> None:
    values = {"deploymentAnnotations": {"a": "deployment"}, "podAnnotations": {"a": "pod"}}
    deployment = one(render({PROGRAMS[program]: values}), "Deployment", f"-{program}")
    assert deployment["metadata"]["annotations"] == {"a": "deployment"}
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {"a": "pod"}


def test_common_annotations_do_not_replace_pods(render: Render) -> None:
    """Only what is in the template makes a Deployment roll."""
    deployment = one(render(EVERYTHING), "Deployment", "-controller")
    assert "annotations" not in deployment["spec"]["template"]["metadata"]


def test_pod_labels_win_over_common_ones(render: Render) -> None:
    objects = render(EVERYTHING)
    labels = {
        name: one(objects, "Deployment", f"-{name}")["spec"]["template"]["metadata"]["labels"] for name in PROGRAMS
    }
    assert {name: found["tier"] for name, found in labels.items()} == {
        "controller": "common",
        "gateway": "common",
        "api": "rest",
    }
    assert {found["team"] for found in labels.values()} == {"backup"}


@pytest.mark.parametrize("values", [{}, EVERYTHING])
@pytest.mark.parametrize("program", PROGRAMS)
def test_selectors_are_those_of_every_version_before(render: Render, values: Obj, program: str) -> None:
    """A Deployment's selector is immutable: with another one no release could be upgraded."""
    objects = render(values)
    expected = {
        "app.kubernetes.io/name": "sendense-backup",
        "app.kubernetes.io/instance": "rel",
        "app.kubernetes.io/component": program,
    }
    deployment = one(objects, "Deployment", f"-{program}")["spec"]
    assert deployment["selector"] == {"matchLabels": expected}
    assert expected.items() <= deployment["template"]["metadata"]["labels"].items()
    assert one(objects, "NetworkPolicy", f"-{program}")["spec"]["podSelector"] == {"matchLabels": expected}
    for service in all_of(objects, "Service"):
        assert "team" not in service["spec"]["selector"]


def test_labels_that_select_pods_are_refused(refusal: Callable[[Obj], str]) -> None:
    keys = [f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")]
    keys += ["backup.sendense.io/component", "pod-template-hash"]
    labels = dict.fromkeys(keys, "x")
    of_objects = ["app.kubernetes.io/version", "helm.sh/chart", "rbac.authorization.k8s.io/aggregate-to-admin"]
    text = refusal(
        {
            "commonLabels": labels | dict.fromkeys(of_objects, "x"),
            **{part: {"podLabels": labels} for part in PROGRAMS.values()},
        }
    ).replace("~1", "/")
    assert [key for key in keys + of_objects if f"'/commonLabels/{key}'" not in text] == []
    for part in PROGRAMS.values():
        assert [key for key in keys if f"'/{part}/podLabels/{key}'" not in text] == []


def test_wrong_labels_and_annotations_are_refused_by_name(refusal: Callable[[Obj], str]) -> None:
    fields = ("deploymentAnnotations", "podAnnotations", "podLabels")
    text = refusal(
        {
            "commonLabels": {"team": 1, "long": "x" * 64},
            "commonAnnotations": {"a": True, "helm.sh/hook": "pre-install"},
            **{part: {field: {"a": 1} for field in fields} for part in PROGRAMS.values()},
        }
    )
    assert "want string" in complaint(text, "/commonLabels/team")
    assert "maxLength" in complaint(text, "/commonLabels/long")
    assert "want string" in complaint(text, "/commonAnnotations/a")
    assert "false schema" in complaint(text, "/commonAnnotations/helm.sh/hook")
    for part in PROGRAMS.values():
        for field in fields:
            assert "want string" in complaint(text, f"/{part}/{field}/a")


def test_lists_are_no_labels(refusal: Callable[[Obj], str]) -> None:
    text = refusal({"commonLabels": ["a"], "commonAnnotations": ["a"], "rest": {"deploymentAnnotations": ["a"]}})
    for path in ("/commonLabels", "/commonAnnotations", "/rest/deploymentAnnotations"):
        assert "want object" in complaint(text, path)


def test_definitions_are_the_generated_ones_and_outlive_the_release(render: Render) -> None:
    definitions = all_of(render(), "CustomResourceDefinition")
    assert len(definitions) == len(list((CHECKOUT / "crds").glob("*.yaml")))
    for definition in definitions:
        assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        name = f"{definition['spec']['group']}_{definition['spec']['names']['plural']}.yaml"
        copy = CHART / "files" / "crds" / name
        assert copy.read_text(encoding="utf-8") == (CHECKOUT / "crds" / name).read_text(encoding="utf-8")
    assert not all_of(render({"crds": {"install": False}}), "CustomResourceDefinition")
