"""The rules and the dashboard, and the queries in them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.support.kube import CHECKOUT
from tests.support.objects import Obj

FOLDER: Final = CHECKOUT / "charts" / "sendense-backup" / "files" / "monitoring"
RULES: Final = FOLDER / "rules.yaml"
DASHBOARD: Final = FOLDER / "dashboard.json"
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup" / "tools"


def prometheus_command(name: str) -> str:
    """Return prometheus or promtool: the one on the PATH, or the one that `make prometheus` built. Skips without."""
    found = shutil.which(name) or next(map(str, sorted(_CACHE.glob(f"prometheus-*/{name}"))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: `make prometheus` builds it")
        pytest.skip(f"{name} is missing: `make prometheus` builds it")
    return found


def rules() -> list[Obj]:
    """Return all alerting rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Obj:
    """Return the dashboard."""
    found: Obj = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query of rules and dashboard, with where it is; Grafana's variables are replaced."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            query: Any = target["expr"]
            yield (
                f"{panel['title']} {target['refId']}",
                query.replace("$__rate_interval", "5m").replace("$namespace", "shop"),
            )
    for variable in dashboard()["templating"]["list"]:
        if found := re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", "")):
            yield variable["name"], f"count by ({found[2]}) ({found[1]})"
