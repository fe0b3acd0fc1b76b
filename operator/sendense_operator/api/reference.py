"""Generation of the API reference, docs/reference/api.md, from the CRDs' schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sendense_operator.api.markdown import escaped, table, wrapped
from sendense_operator.api.schema import crd
from sendense_operator.api.v1alpha1 import RESOURCES, Resource
from sendense_operator.api.v1alpha1.base import MAX_INT, Column
from sendense_operator.api.v1alpha1.names import API_VERSION

_MAX_COUNT: Final = 1_000_000_000
"""Upper bounds from here on only keep a field from growing without limit, so the reference omits them."""
_ELSEWHERE: Final = {"spec.podTemplate.affinity": "as in a pod", "status.conditions": "see above"}
"""Objects whose fields are not listed because Kubernetes documents them; the text that replaces the list."""
_INTRODUCTION: Final = (
    f"All kinds belong to `{API_VERSION}` and are namespaced. References name objects of the same namespace. "
    "`kubectl explain` shows the same text. This page is generated from the models by `make generate`.",
    "Each status has `observedGeneration`, the generation of the spec that it was computed from, and `conditions`. A "
    "condition has `type`, `status` (`True`, `False`, `Unknown`), `reason`, `message`, `lastTransitionTime` and "
    "`observedGeneration`. `Ready` is always present. `Reconciling` and `Stalled` are present only while they are "
    "true, as kstatus defines them. [Troubleshooting](../operations/troubleshooting.md) explains the reasons.",
    "In the tables, *required* marks a field without a default. *Immutable* fields cannot be changed after creation. "
    "`[]` stands for the entries of a list.",
)


def reference() -> str:
    """Return the page, in Markdown."""
    parts = ["# API", *_INTRODUCTION, *(part for resource in RESOURCES for part in _kind(resource))]
    return "\n\n".join(part if part.startswith(("|", "#")) else wrapped(part) for part in parts) + "\n"


def _kind(resource: Resource) -> Iterator[str]:
    (version,) = crd(resource)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    yield f"## {resource.kind}"
    yield resource.description
    yield f"Plural `{resource.plural}`, short name `{resource.short_name}`."
    shown = [column for column in resource.columns if not column.priority]
    wide = [column for column in resource.columns if column.priority]
    yield f"Columns of `kubectl get`: {_columns(shown)}. With `-o wide` also: {_columns(wide)}."
    if resource.selectable:
        fields = ", ".join(f"`{path[1:]}`" for path in resource.selectable)
        yield f"Field selectors: {fields}."
    yield f"### {resource.kind} spec"
    yield table(("field", "type", "default", "description"), _rows(schema["spec"], "spec", with_default=True))
    yield f"### {resource.kind} status"
    yield table(("field", "type", "description"), _rows(schema["status"], "status", with_default=False))


def _columns(columns: Iterable[Column]) -> str:
    return ", ".join(column.name.upper() for column in columns)


def _rows(schema: dict[str, Any], path: str, *, with_default: bool) -> Iterator[tuple[str, ...]]:
    """Yield one row per field; the row of an object comes before those of its fields."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        if place in ("status.observedGeneration", "status.conditions"):
            continue
        required = name in schema.get("required", ())
        default = (_default(field, required=required),) if with_default else ()
        yield (f"`{place.partition('.')[2]}`", _type(field), *default, _description(field, place))
        if place not in _ELSEWHERE:
            inner, inner_path = field, place
            while inner.get("type") == "array":
                inner, inner_path = inner["items"], f"{inner_path}[]"
            yield from _rows(inner, inner_path, with_default=with_default)


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value)
    match field.get("type"):
        case "array":
            items = field["items"]
            return "list" if items.get("type") == "object" else f"list of {_type(items)}"
        case "object" if "additionalProperties" in field:
            return f"map to {_type(field['additionalProperties'])}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case "integer":
            return f"integer{_bounds(field)}"
        case None:
            return "integer or string"
        case kind:
            return str(kind)


def _bounds(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum", MAX_INT)
    if high >= _MAX_COUNT:
        return f", at least {low}" if low else ""
    return f", {low} to {high}"


def _default(field: dict[str, Any], *, required: bool) -> str:
    if required:
        return "*required*"
    value = field.get("default")
    if value is None or value == "" or isinstance(value, (dict, list)):
        return ""
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _description(field: dict[str, Any], place: str) -> str:
    immutable = any("is immutable" in rule["message"] for rule in field.get("x-kubernetes-validations", ()))
    parts = (
        escaped(field.get("description", "")),
        "*Immutable.*" if immutable else "",
        f"Fields: {_ELSEWHERE[place]}." if place in _ELSEWHERE else "",
    )
    return " ".join(part for part in parts if part)
