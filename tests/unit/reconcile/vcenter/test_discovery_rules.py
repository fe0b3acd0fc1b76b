"""Which VMs a discovery is asked for, and which labels it gives them."""

from __future__ import annotations

from typing import Any

import pytest

from sendense_operator.api.v1alpha1.discovery import DiscoverySpec
from sendense_operator.reconcile.vcenter.discovery_rules import build_labeler, build_rule
from sendense_operator.vma.messages import InventoryVM


def asked_for(name: str = "db01", *, path: str = "", **rules: Any) -> bool:
    spec = DiscoverySpec.model_validate({"datacenters": ["DC1"], **rules})
    return build_rule(spec)(InventoryVM(name=name, path=path or f"/DC1/vm/{name}"))


@pytest.mark.parametrize(
    ("name", "patterns", "fits"),
    [
        ("db01", [], True),
        ("db01", ["db*"], True),
        ("db01", ["web*", "db??"], True),
        ("db01", ["db?"], False),
        ("db01", ["b0"], False),
        ("DB01", ["db*"], True),
        ("db.01", ["db.*"], True),
        ("dbx01", ["db.*"], False),
        ("db[1]", ["db[1]"], True),
        ("db1", ["db[1]"], False),
        ("a\nb", ["a*b"], True),
        ("^db$", ["^db$"], True),
    ],
)
def test_names(name: str, patterns: list[str], fits: bool) -> None:
    assert asked_for(name, namePatterns=patterns) is fits


@pytest.mark.parametrize(("name", "fits"), [("db01", True), ("db01-test", False), ("web01", False)])
def test_excluded_names(name: str, fits: bool) -> None:
    assert asked_for(name, namePatterns=["db*"], excludePatterns=["*-TEST"]) is fits


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("/DC1/vm/production/db01", True),
        ("/Site/DC1/vm/production/a/db01", True),
        ("/DC1/vm/production2/db01", False),
        ("/DC1/vm/production", False),
        ("/DC1/vm/db01", False),
        ("/DC1/vm/x/production/db01", False),
        ("/DC1/production/db01", False),
    ],
)
def test_folders(path: str, fits: bool) -> None:
    assert asked_for(path=path, folder="production") is fits


def labels(name: str, path: str, *rules: dict[str, Any]) -> dict[str, str]:
    named = [{"name": f"rule-{number}", **rule} for number, rule in enumerate(rules)]
    spec = DiscoverySpec.model_validate({"datacenters": ["DC1"], "labels": named})
    return build_labeler(spec.labels)(InventoryVM(name=name, path=f"/DC1/vm/{path}{name}"))


GOLD = {"namePatterns": ["db*"], "labels": {"tier": "gold"}}
SILVER = {"folder": "production", "labels": {"tier": "silver", "team": "shop"}}


@pytest.mark.parametrize(
    ("name", "path", "rules", "expected"),
    [
        ("db01", "production/", (), {}),
        ("db01", "", (GOLD,), {"tier": "gold"}),
        ("DB01", "", (GOLD,), {"tier": "gold"}),
        ("web01", "", (GOLD,), {}),
        ("web01", "production/", (GOLD, SILVER), {"tier": "silver", "team": "shop"}),
        ("web01", "production/a/", (GOLD, SILVER), {"tier": "silver", "team": "shop"}),
        ("web01", "production2/", (GOLD, SILVER), {}),
        ("db01", "production/", (GOLD, SILVER), {"tier": "gold", "team": "shop"}),
        ("db01", "production/", (SILVER, GOLD), {"tier": "silver", "team": "shop"}),
        ("db01", "production/", ({**SILVER, "namePatterns": ["web*"]},), {}),
        ("web01", "production/", ({**SILVER, "namePatterns": ["db*", "web*"]},), {"tier": "silver", "team": "shop"}),
        ("web01", "test/", ({**SILVER, "namePatterns": ["db*", "web*"]},), {}),
    ],
)
def test_labels(name: str, path: str, rules: tuple[dict[str, Any], ...], expected: dict[str, str]) -> None:
    assert labels(name, path, *rules) == expected


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    assert not asked_for("a" * 4000, namePatterns=["*a" * 100 + "b"])
