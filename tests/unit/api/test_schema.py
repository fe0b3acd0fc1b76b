"""The schemas of all resources: bounded and described throughout, structural, and what the models say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sendense_operator.api.generate import main, rendered
from sendense_operator.api.schema import crd
from sendense_operator.api.v1alpha1 import RESOURCES, Resource

Schema = dict[str, Any]
KINDS = pytest.mark.parametrize("resource", RESOURCES, ids=[r.kind for r in RESOURCES])


def nodes(path: str, node: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the node and all below it, with their paths."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    if "items" in node:
        yield from nodes(f"{path}[]", node["items"])
    if "additionalProperties" in node:
        yield from nodes(f"{path}{{}}", node["additionalProperties"])


def parts(resource: Resource) -> list[tuple[str, Schema]]:
    """Return all nodes of spec and status."""
    schema = crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return [*nodes("spec", schema["spec"]), *nodes("status", schema["status"])]


def bounded(node: Schema) -> bool:
    """Return whether there is a limit to what the node can hold."""
    if node.get("x-kubernetes-int-or-string"):
        return "maxLength" in node and "minimum" in node
    match node["type"]:
        case "string":
            return "maxLength" in node or "enum" in node or node.get("format") == "date-time"
        case "integer":
            return "minimum" in node and "maximum" in node
        case "array":
            return "maxItems" in node
        case "object":
            if "additionalProperties" in node:
                return "maxProperties" in node
            # Without properties all fields are pruned, unless it says otherwise.
            return "properties" in node or "x-kubernetes-preserve-unknown-fields" not in node
        case kind:
            return bool(kind == "boolean")


@KINDS
def test_everything_is_bounded(resource: Resource) -> None:
    assert [path for path, node in parts(resource) if not bounded(node)] == []


@KINDS
def test_everything_is_described(resource: Resource) -> None:
    assert [
        path for path, node in parts(resource) if not path.endswith(("[]", "{}")) and not node.get("description")
    ] == []
    assert resource.description


@KINDS
def test_schemas_are_structural(resource: Resource) -> None:
    """As the API server wants them: a type everywhere, nothing but one structure."""
    refused = {"$ref", "anyOf", "oneOf", "allOf", "title", "const", "exclusiveMaximum", "exclusiveMinimum"}
    for path, node in parts(resource):
        assert ("type" in node) is not ("x-kubernetes-int-or-string" in node), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert not refused & node.keys(), path


@KINDS
def test_defaults_fit_their_own_schema(resource: Resource) -> None:
    """The API server refuses a definition with a default of null or of another type."""
    types = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    for path, node in parts(resource):
        if "default" in node:
            assert isinstance(node["default"], types[node["type"]]), path
            assert None not in (node["default"].values() if isinstance(node["default"], dict) else ()), path


@KINDS
def test_a_status_has_no_defaults(resource: Resource) -> None:
    assert [path for path, node in parts(resource) if path.startswith("status") and "default" in node] == []


@KINDS
def test_lists_of_objects_have_keys(resource: Resource) -> None:
    """So that server-side apply merges them item by item, or takes them as a whole."""
    for path, node in parts(resource):
        if node.get("type") == "array" and node["items"]["type"] == "object":
            if node.get("x-kubernetes-list-type") == "atomic":
                continue
            keys = node["x-kubernetes-list-map-keys"]
            assert node["x-kubernetes-list-type"] == "map", path
            assert set(keys) <= set(node["items"]["required"]), path


@KINDS
def test_columns_and_selectable_fields_exist(resource: Resource) -> None:
    known = {f".{path}" for path, _ in parts(resource)}
    for column in resource.columns:
        if not column.path.startswith((".metadata", ".status.conditions[?")):
            assert column.path in known, column
    assert set(resource.selectable) <= known


@KINDS
def test_names_of_the_kind(resource: Resource) -> None:
    names = crd(resource)["spec"]["names"]
    assert names["categories"] == ["sendense"]
    assert names["shortNames"] == [resource.short_name]
    assert names["listKind"] == f"{resource.kind}List"


def test_short_names_differ() -> None:
    assert len({r.short_name for r in RESOURCES}) == len(RESOURCES)


def test_rendered_files_are_yaml_without_anchors() -> None:
    for name, text in rendered().items():
        definition = yaml.safe_load(text)
        assert name == f"{definition['spec']['group']}_{definition['spec']['names']['plural']}.yaml"
        assert "&id" not in text


def test_generate_writes_and_then_checks(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "crds"
    assert main([str(folder)]) == 0
    assert main(["--check", str(folder)]) == 0
    stale = folder / "backup.sendense.io_backups.yaml"
    stale.write_text(stale.read_text() + "# edited by hand\n")
    assert main(["--check", str(folder)]) == 1
    assert "make generate" in capsys.readouterr().err
    assert "edited by hand" in stale.read_text()


def test_rules_of_a_field_and_of_its_model_add_up() -> None:
    """For a field that may be absent, too: otherwise the API server would accept what the model refuses."""
    schema = dict(parts(next(resource for resource in RESOURCES if resource.kind == "Restore")))
    for path, mine in (("spec.source", "backupRef"), ("spec.target", "persistentVolumeClaims")):
        said = [rule["message"] for rule in schema[path]["x-kubernetes-validations"]]
        assert any(mine in message for message in said), path
        assert any("immutable" in message for message in said), path
