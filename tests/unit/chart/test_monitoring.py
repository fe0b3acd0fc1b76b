"""What the chart makes for a Prometheus operator and for Grafana."""

from __future__ import annotations

import json
from collections.abc import Callable

import yaml
from tests.support.monitoring import RULES, dashboard
from tests.support.objects import Obj

from .conftest import Render, all_of, complaint, one, selector_of, template_of

ALL = {name: {"enabled": True} for name in ("podMonitor", "prometheusRule", "dashboard")}


def test_nothing_unless_it_is_wanted(render: Render) -> None:
    objects = render()
    for kind in ("PodMonitor", "PrometheusRule", "ConfigMap"):
        assert all_of(objects, kind) == []


def test_the_monitor_finds_the_pods_and_their_ports(render: Render) -> None:
    objects = render({"monitoring": ALL})
    (monitor,) = all_of(objects, "PodMonitor")
    selector, endpoints = monitor["spec"]["selector"], monitor["spec"]["podMetricsEndpoints"]
    (components,) = selector["matchExpressions"]
    found = []
    for program in ("controller", "gateway", "api"):
        labels = template_of(objects, program)["metadata"]["labels"]
        if selector["matchLabels"].items() <= labels.items() and labels[components["key"]] in components["values"]:
            ports = {port["name"] for port in template_of(objects, program)["spec"]["containers"][0]["ports"]}
            found += [(program, endpoint["port"]) for endpoint in endpoints if endpoint["port"] in ports]
    assert found == [("controller", "health"), ("api", "metrics")]
    assert all(endpoint["honorLabels"] and endpoint["path"] == "/metrics" for endpoint in endpoints)
    assert selector_of(objects, "controller").items() >= selector["matchLabels"].items()


def test_the_network_policies_admit_the_scrapes(render: Render) -> None:
    prometheus: list[Obj] = [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]
    objects = render({"monitoring": ALL, "networkPolicy": {"metricsFrom": prometheus}})
    (monitor,) = all_of(objects, "PodMonitor")
    scraped = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    admitted = set()
    for program in ("controller", "api"):
        for rule in one(objects, "NetworkPolicy", f"-{program}")["spec"]["ingress"]:
            admitted |= {port["port"] for port in rule["ports"]} if rule.get("from") == prometheus else set()
    assert admitted == scraped


def test_without_rest_only_the_controller_is_scraped(render: Render) -> None:
    (monitor,) = all_of(render({"monitoring": ALL, "rest": {"enabled": False}}), "PodMonitor")
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["health"]


def test_interval_and_timeout(render: Render) -> None:
    values = {"podMonitor": {"enabled": True, "interval": "1m", "scrapeTimeout": "20s"}}
    (monitor,) = all_of(render({"monitoring": values}), "PodMonitor")
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("1m", "20s")


def test_the_rules_are_those_of_the_file(render: Render) -> None:
    (rule,) = all_of(render({"monitoring": ALL}), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


def test_the_runbooks_may_be_elsewhere(render: Render) -> None:
    url = "https://docs.example/runbooks.html"
    values = {"prometheusRule": {"enabled": True, "runbookURL": url}}
    (rule,) = all_of(render({"monitoring": values}), "PrometheusRule")
    links = [one["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for one in group["rules"]]
    assert {link.partition("#")[0] for link in links} == {url}


def test_the_dashboard_is_that_of_the_file(render: Render) -> None:
    (config,) = all_of(render({"monitoring": ALL}), "ConfigMap")
    (text,) = config["data"].values()
    assert json.loads(text) == dashboard()
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_labels_by_which_prometheus_selects(render: Render) -> None:
    objects = render({"monitoring": {**ALL, "labels": {"release": "stack"}}})
    for kind in ("PodMonitor", "PrometheusRule", "ConfigMap"):
        (found,) = all_of(objects, kind)
        assert found["metadata"]["labels"]["release"] == "stack"


def test_values_that_are_refused(refusal: Callable[[Obj], str]) -> None:
    for path, values in (
        ("/monitoring/podMonitor/interval", {"podMonitor": {"interval": "soon"}}),
        ("/monitoring/prometheusRule/runbookURL", {"prometheusRule": {"runbookURL": "https://x.example/#there"}}),
        ("/monitoring/labels/app.kubernetes.io/name", {"labels": {"app.kubernetes.io/name": "mine"}}),
    ):
        assert complaint(refusal({"monitoring": values}), path)
