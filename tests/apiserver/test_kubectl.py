"""What a person types: short names, the category, and explanations of every field."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.support.kube import CHECKOUT, OUR_KINDS, Kube
from tests.support.programs import kubectl

SHORT = {
    "bkp": "Backup",
    "bchain": "BackupChain",
    "brepo": "BackupRepository",
    "pvm": "ProtectedVM",
    "vma": "VMwareAppliance",
}


@pytest.mark.parametrize(("short", "kind"), SHORT.items())
def test_explain_by_short_name(kube: Kube, short: str, kind: str) -> None:
    said = kubectl("explain", f"{short}.spec")
    assert f"KIND:       {kind}\n" in said
    assert "<no description>" not in said


def test_category(kube: Kube) -> None:
    resources = kube.request("GET", "apis/backup.sendense.io/v1alpha1").json()["resources"]
    named = {r["kind"] for r in resources if "sendense" in r.get("categories", [])}
    assert named == set(OUR_KINDS)


@pytest.mark.parametrize("kind", OUR_KINDS)
def test_every_field_is_described(kube: Kube, kind: str) -> None:
    """In what the API server publishes, where `kubectl explain` takes it from."""
    published = kube.request("GET", "openapi/v3/apis/backup.sendense.io/v1alpha1").json()
    schema = published["components"]["schemas"][f"io.sendense.backup.v1alpha1.{kind}"]
    assert schema["description"]
    silent = [*_undescribed("spec", schema["properties"]["spec"])]
    silent += _undescribed("status", schema["properties"]["status"])
    assert silent == []


def _undescribed(path: str, node: dict[str, Any]) -> list[str]:
    missing = [] if node.get("description") else [path]
    for name, child in node.get("properties", {}).items():
        missing += _undescribed(f"{path}.{name}", child)
    items = node.get("items", {})
    for name, child in items.get("properties", {}).items():
        missing += _undescribed(f"{path}[].{name}", child)
    return missing


def test_the_cluster_serves_what_the_checkout_says(kube: Kube) -> None:
    for path in sorted((CHECKOUT / "crds").glob("*.yaml")):
        ours = yaml.safe_load(path.read_text(encoding="utf-8"))
        served = kube.get("CustomResourceDefinition", ours["metadata"]["name"])
        assert json.dumps(served["spec"]["versions"], sort_keys=True) == json.dumps(
            ours["spec"]["versions"], sort_keys=True
        )
