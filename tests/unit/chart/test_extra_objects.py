"""Objects of the user's own, rendered with the release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from tests.support.objects import Obj

from .conftest import Render, complaint, one

CONFIG: Final[Obj] = {"apiVersion": "v1", "kind": "ConfigMap"}
TEXT: Final = """\
{{- range list "a" "b" }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: text-{{ . }}, namespace: {{ $.Release.Namespace }}}
{{- end }}
"""


def test_objects_are_added_with_their_templates_rendered(render: Render) -> None:
    selector = '{{ include "sendense.selector" (list . "controller") | fromYaml | toJson }}'
    named = {"name": "extra", "namespace": "{{ .Release.Namespace }}", "labels": {"n": "1"}}
    objects = render(
        {"extraObjects": [{**CONFIG, "metadata": named, "data": {"selector": selector, "port": "8082"}}, TEXT]}
    )
    extra = one(objects, "ConfigMap", "extra")
    assert extra["metadata"] == {"name": "extra", "namespace": "ops", "labels": {"n": "1"}}
    assert '"app.kubernetes.io/component":"controller"' in extra["data"]["selector"]
    assert extra["data"]["port"] == "8082", "text stays text"
    assert {one(objects, "ConfigMap", f"text-{letter}")["metadata"]["namespace"] for letter in "ab"} == {"ops"}


def test_nothing_else_changes(render: Render) -> None:
    def others(objects: list[Obj]) -> list[Obj]:
        return [item for item in objects if item["kind"] not in ("ConfigMap", "Secret")]

    extra = {"extraObjects": [{**CONFIG, "metadata": {"name": "extra"}}], "commonLabels": {"team": "backup"}}
    objects = render(extra)
    assert others(objects) == others(render({"commonLabels": {"team": "backup"}}))
    assert one(objects, "ConfigMap", "extra")["metadata"] == {"name": "extra"}, "not the chart's: its labels stay away"


def test_a_text_may_come_to_nothing(render: Render) -> None:
    assert {item["kind"] for item in render({"extraObjects": ["{{ if false }}kind: ConfigMap{{ end }}"]})} == {
        item["kind"] for item in render()
    }


@pytest.mark.parametrize("value", [{}, "kind: ConfigMap"])
def test_only_a_list_is_accepted(refusal: Callable[[Obj], str], value: Obj | str) -> None:
    assert "want array" in complaint(refusal({"extraObjects": value}), "/extraObjects")


def test_what_is_no_object_is_refused(refusal: Callable[[Obj], str]) -> None:
    wrong: list[tuple[Obj | int | str, str, str]] = [
        (1, "", "got number"),
        ("", "", "minLength"),
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, "", "apiVersion"),
        ({**CONFIG, "metadata": "a"}, "/metadata", "want object"),
        ({**CONFIG, "kind": 1, "metadata": {}}, "/kind", "want string"),
    ]
    text = refusal({"extraObjects": [item for item, _, _ in wrong]})
    for number, (_, field, said) in enumerate(wrong):
        assert said in complaint(text, f"/extraObjects/{number}{field}")


def test_a_template_that_does_not_exist_is_refused(refusal: Callable[[Obj], str]) -> None:
    assert "no.such.template" in refusal({"extraObjects": ['{{ include "no.such.template" . }}']})
