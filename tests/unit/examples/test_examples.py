"""The examples say only what the resources know."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.support.objects import Obj

from sendense_operator.api.schema import crd
from sendense_operator.api.v1alpha1 import RESOURCES

CHECKOUT: Final = Path(__file__).resolve().parents[3]
FILES: Final = sorted((CHECKOUT / "examples").rglob("*.yaml"))
OURS: Final = {resource.kind: resource for resource in RESOURCES}


def _objects(file: Path) -> list[Obj]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def _unknown(value: Any, schema: Obj, path: str) -> list[str]:
    """Return the paths of fields that the schema does not know: the API server would drop them in silence."""
    if isinstance(value, list):
        return [found for item in value for found in _unknown(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict):
        return []
    if "additionalProperties" in schema:
        return [f for name, v in value.items() for f in _unknown(v, schema["additionalProperties"], f"{path}.{name}")]
    known = schema.get("properties", {})
    lost = [f"{path}.{name}" for name in value if name not in known]
    return lost + [f for name, v in value.items() if name in known for f in _unknown(v, known[name], f"{path}.{name}")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_example_fits_its_kind(file: Path) -> None:
    for item in _objects(file):
        assert item["kind"] == "Namespace" or item["kind"] == "PersistentVolume" or item["metadata"]["namespace"]
        resource = OURS.get(item["kind"])
        if resource is None:
            continue
        assert item["apiVersion"] == resource.api_version
        resource.spec.model_validate(item["spec"])
        (version,) = crd(resource)["spec"]["versions"]
        assert not _unknown(item["spec"], version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec")


def test_the_quickstart_refers_only_to_what_it_brings() -> None:
    items = [item for file in FILES if file.parent.name == "quickstart" for item in _objects(file)]
    named = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert {kind for kind, _ in named} >= {"Namespace", "Secret", "Backup", "VMwareAppliance", "BackupRepository"}
    assert {item["metadata"].get("namespace", "backups") for item in items} == {"backups"}
    backup = next(item for item in items if item["kind"] == "Backup")
    vm = named[("ProtectedVM", backup["spec"]["vmRef"]["name"])]
    repository = named[("BackupRepository", backup["spec"]["repositoryRef"]["name"])]
    appliance = named[("VMwareAppliance", vm["spec"]["applianceRef"]["name"])]
    assert ("Secret", appliance["spec"]["vcenter"]["credentialsSecretRef"]["name"]) in named
    assert ("PersistentVolumeClaim", repository["spec"]["claimName"]) in named
