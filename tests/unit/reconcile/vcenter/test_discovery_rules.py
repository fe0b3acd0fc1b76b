"""Which VMs a discovery is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from sendense_operator.api.v1alpha1.discovery import DiscoverySpec
from sendense_operator.reconcile.vcenter.discovery_rules import build_rule
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


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    assert not asked_for("a" * 4000, namePatterns=["*a" * 100 + "b"])
