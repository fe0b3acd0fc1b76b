"""Generation of structural OpenAPI schemas and CustomResourceDefinitions from pydantic models.

No library writes what these CRDs need: CEL rules, selectable fields, bounds on everything. The hard part, the JSON
schema, comes from pydantic.
"""

from __future__ import annotations

from typing import Any, Final

from sendense_operator.api.v1alpha1.base import Column, Model, Resource
from sendense_operator.api.v1alpha1.names import GROUP, NAME_PATTERN, VERSION

JSON = dict[str, Any]
_RULES: Final = "x-kubernetes-validations"

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
)
_BROAD_INTEGER = 1 << 31


def structural(model: type[Model], *, defaults: bool = True) -> JSON:
    """Return the model as a structural schema: no references, titles or unions, and optional fields instead of null.

    Without `defaults` for a status: the API server would add values that nobody observed.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(raw, raw.get("$defs", {}), _KEPT if defaults else tuple(k for k in _KEPT if k != "default"))


def _convert(node: JSON, defs: JSON, kept: tuple[str, ...]) -> JSON:
    node = _resolve(node, defs)
    result: JSON = {k: _without_nulls(node[k]) for k in kept if k in node and not (k == "default" and node[k] is None)}
    result.update({k: v for k, v in node.items() if k.startswith("x-kubernetes-")})
    if "exclusiveMaximum" in node:
        result["maximum"] = node["exclusiveMaximum"] - 1
    if "exclusiveMinimum" in node:
        result["minimum"] = node["exclusiveMinimum"] + 1
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if node.get("properties"):  # the API server leaves out an empty one, and would differ from the file for ever
        result["properties"] = {k: _convert(v, defs, kept) for k, v in node["properties"].items()}
    if node.get("required"):
        result["required"] = node["required"]
    if "items" in node:
        result["items"] = _convert(node["items"], defs, kept)
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _convert(node["additionalProperties"], defs, kept)
    if node.get("x-kubernetes-int-or-string"):
        del result["type"]
    if result.get("type") == "integer":
        result["format"] = "int64" if result.get("maximum", _BROAD_INTEGER) >= _BROAD_INTEGER else "int32"
    return result


def _without_nulls(value: Any) -> Any:
    """Return the default of a nested object without the fields that have no value by default."""
    return {k: _without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _resolve(node: JSON, defs: JSON) -> JSON:
    """Resolve `$ref` and `T | None`; the keys beside them (description, default) take precedence, rules add up."""
    if "anyOf" in node:
        (inner,) = [option for option in node["anyOf"] if option.get("type") != "null"]
        return _overlaid(_resolve(inner, defs), {k: v for k, v in node.items() if k != "anyOf"})
    if "$ref" in node:
        target = defs[node["$ref"].rpartition("/")[2]]
        return _overlaid(_resolve(target, defs), {k: v for k, v in node.items() if k != "$ref"})
    return node


def _overlaid(node: JSON, own: JSON) -> JSON:
    both = node.get(_RULES, []) + own.get(_RULES, [])
    return {**node, **own, **({_RULES: both} if both else {})}


def crd(resource: Resource) -> JSON:
    """Return the CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": ["sendense"],
            },
            "versions": [_version(resource)],
        },
    }


def _version(resource: Resource) -> JSON:
    name = {"type": "string", "maxLength": 63, "pattern": NAME_PATTERN}
    version: JSON = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(c) for c in resource.columns],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": resource.description,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object", "properties": {"name": name}},
                    "spec": structural(resource.spec),
                    "status": structural(resource.status, defaults=False),
                },
            }
        },
    }
    if resource.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in resource.selectable]
    return version


def _column(column: Column) -> JSON:
    shown: JSON = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        shown["priority"] = column.priority
    if column.description:
        shown["description"] = column.description
    return shown
