"""The alerts: their unit tests by promtool, and a heading of the runbooks for each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml
from tests.support.kube import CHECKOUT
from tests.support.monitoring import RULES, rules

from .conftest import Promtool

FOLDER: Final = Path(__file__).parent
RUNBOOKS: Final = (CHECKOUT / "docs/operations/runbooks.md").read_text(encoding="utf-8")


def test_the_rules_are_valid(promtool: Promtool) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_the_alerts_fire_when_they_should(promtool: Promtool) -> None:
    promtool("test", "rules", str(FOLDER / "alerts.yaml"))


def test_each_alert_is_tested() -> None:
    tests = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names, "and when it must not fire"


def test_each_alert_has_a_runbook() -> None:
    headings = re.findall(r"^## (.*)$", RUNBOOKS, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks.md#{rule['alert'].lower()}"
        assert f"| [{rule['alert']}](#{rule['alert'].lower()}) | {rule['labels']['severity']} |" in RUNBOOKS


def test_each_alert_says_what_it_is_about() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
