"""Each query of rules, dashboard and documentation asks for series that are exported, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
import yaml
from tests.support.kube import CHECKOUT
from tests.support.monitoring import dashboard, queries

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.metric_catalogue import Metric

from .conftest import Promtool

EXPORTED: Final = {series: metric for metric in catalogue.all_metrics() for series in metric.series}
QUERIES: Final = [pytest.param(query, id=where) for where, query in queries()]
PAGES: Final = (*sorted((CHECKOUT / "docs").rglob("*.md")), CHECKOUT / "README.md")
_BY_PANEL: Final = "Value #"


def _named(text: str) -> set[str]:
    return set(re.findall(r"\bsendense_\w+", re.sub(r'"[^"]*"', "", text)))


def _labels(metrics: set[Metric]) -> set[str]:
    buckets = {"le"} if any(metric.type is catalogue.MetricType.HISTOGRAM for metric in metrics) else set()
    return {label for metric in metrics for label in metric.labels} | buckets


@pytest.mark.parametrize("query", QUERIES)
def test_series_exist(query: str) -> None:
    assert _named(query)
    assert _named(query) - EXPORTED.keys() == set()


@pytest.mark.parametrize("query", QUERIES)
def test_matchers_name_labels_that_the_series_has(query: str) -> None:
    for name, matchers in re.findall(r"\b(sendense_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= set(EXPORTED[name].labels), name


@pytest.mark.parametrize("query", QUERIES)
def test_groups_are_by_labels_that_the_series_have(query: str) -> None:
    known = _labels({EXPORTED[name] for name in _named(query)})
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert set(labels.replace(" ", "").split(",")) <= known


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_tells_two_controllers_apart(query: str) -> None:
    """Each series of objects is grouped, or only selects: at a change of the leader it comes from two pods."""
    assert not re.search(r"\b(pod|instance)\b", query)


def test_promtool_understands_each_query(promtool: Promtool, tmp_path: Path) -> None:
    found = [{"record": f"query:number{index}", "expr": query} for index, (_, query) in enumerate(queries())]
    assert len(found) > 40
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": found}]}), encoding="utf-8")
    promtool("check", "rules", "--lint=none", str(file))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_metrics_exist(page: Path) -> None:
    named = {name for name in _named(page.read_text(encoding="utf-8")) if name != "sendense_operator"}
    assert named - EXPORTED.keys() - {metric.name for metric in EXPORTED.values()} == set()


def test_the_legends_name_labels_of_their_query() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert not labels or any(labels <= set(group.replace(" ", "").split(",")) for group in grouped), panel[
                "title"
            ]


def test_the_columns_of_tables_are_queries() -> None:
    for panel in dashboard()["panels"]:
        if panel["type"] != "table":
            continue
        (organize,) = [one for one in panel["transformations"] if one["id"] == "organize"]
        columns = {name.removeprefix(_BY_PANEL) for name in organize["options"]["renameByName"] if _BY_PANEL in name}
        assert columns == {target["refId"] for target in panel["targets"]}, panel["title"]


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
    assert json.dumps(dashboard()).count("${datasource}") > len(panels)
