"""The chart's Artifact Hub annotations are what the CRDs, the examples and the values say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sendense_operator.api.artifacthub import MARKER, chart_metadata

CHECKOUT: Final = Path(__file__).resolve().parents[3]
CHART: Final = CHECKOUT / "charts" / "sendense-backup"
TEXT: Final = (CHART / "Chart.yaml").read_text(encoding="utf-8")
WRONG: Final = "run `make generate`"
MINIMAL: Final = f"appVersion: 1.2.3\nannotations:\n{MARKER}"


def _annotation(name: str, text: str = TEXT) -> Any:
    """Return what the annotation's text says, which Artifact Hub reads as YAML."""
    value = yaml.safe_load(text)["annotations"][f"artifacthub.io/{name}"]
    assert isinstance(value, str)
    return yaml.safe_load(value)


def _definitions() -> list[dict[str, Any]]:
    files = sorted((CHECKOUT / "crds").glob("*.yaml"))
    return [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]


def test_each_crd_is_listed_as_it_is() -> None:
    listed = {item["name"]: item for item in _annotation("crds")}
    assert set(listed) == {definition["metadata"]["name"] for definition in _definitions()}, WRONG
    for definition in _definitions():
        (version,) = definition["spec"]["versions"]
        item = listed[definition["metadata"]["name"]]
        assert set(item) == {"kind", "version", "name", "displayName", "description"}
        assert item["kind"] == definition["spec"]["names"]["kind"], WRONG
        assert item["version"] == version["name"], WRONG
        assert item["displayName"].replace(" ", "") == item["kind"]
        assert item["description"] == version["schema"]["openAPIV3Schema"]["description"], WRONG


def test_examples_are_objects_of_the_examples() -> None:
    known = [
        item
        for file in (CHECKOUT / "examples").rglob("*.yaml")
        for item in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]
    shown = _annotation("crdsExamples")
    assert [item for item in shown if item not in known] == [], WRONG
    ours = {item["kind"] for item in known if item["apiVersion"].startswith("backup.sendense.io/")}
    assert sorted(item["kind"] for item in shown) == sorted(ours), WRONG


def test_the_image_is_the_one_that_is_installed_by_default() -> None:
    image = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["image"]
    chart = yaml.safe_load(TEXT)
    (item,) = _annotation("images")
    assert item == {"name": "sendense-backup", "image": f"{image['repository']}:{chart['appVersion']}"}, WRONG


def test_changes_are_of_kinds_that_artifact_hub_knows() -> None:
    changes = _annotation("changes")
    assert changes
    for change in changes:
        assert set(change) == {"kind", "description"}
        assert change["kind"] in ("added", "changed", "deprecated", "removed", "fixed", "security")


def test_no_address_is_named() -> None:
    assert not re.search(r"https?://(?!reference-vma\.)", TEXT)


def test_what_is_written_by_hand_stays() -> None:
    stale = TEXT.replace("name: backups.backup", "name: others.backup")
    again = chart_metadata(stale, "sendense-backup", ())
    assert again.partition(MARKER)[0] == TEXT.partition(MARKER)[0]
    assert _annotation("crds", again) == _annotation("crds")
    assert _annotation("crdsExamples", again) == []


def test_the_first_example_of_each_kind_is_shown_and_nothing_of_others() -> None:
    ours = {"apiVersion": "backup.sendense.io/v1alpha1", "kind": "Backup"}
    first, second = ({**ours, "metadata": {"name": name}, "spec": {"text": "a: b\n\nc"}} for name in ("a", "b"))
    text = chart_metadata(
        MINIMAL, "registry.example/team/backup", [{"apiVersion": "v1", "kind": "Secret"}, first, second]
    )
    assert _annotation("crdsExamples", text) == [first]
    assert _annotation("images", text) == [{"name": "backup", "image": "registry.example/team/backup:1.2.3"}]


def test_a_file_without_the_line_to_begin_at_is_left_alone() -> None:
    with pytest.raises(ValueError, match=r"Chart\.yaml has no line"):
        chart_metadata("appVersion: 1.2.3\nannotations: {}\n", "a", ())
