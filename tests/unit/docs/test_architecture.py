"""The state diagram and the map of the errors name what the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.api.v1alpha1.conditions import RUNNING_REASONS, TERMINAL_PHASES

CHECKOUT: Final = Path(__file__).resolve().parents[3]
ARCHITECTURE: Final = CHECKOUT / "docs" / "architecture"
STATES: Final = (ARCHITECTURE / "backup-states.md").read_text(encoding="utf-8")
ERRORS: Final = (ARCHITECTURE / "errors.md").read_text(encoding="utf-8")
VALUES: Final = frozenset({"Failed", "IntegrityRefusal"})
"""Results that the map names beside the exceptions."""


def _classes() -> list[ast.ClassDef]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (CHECKOUT / "operator").rglob("*.py")]
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [node for node in found if not node.name.startswith("_")]


def _exceptions() -> set[str]:
    """Public exception classes of the operator."""
    return {node.name for node in _classes() if any(_is_exception(base) for base in node.bases)}


def _is_exception(base: ast.expr) -> bool:
    return isinstance(base, ast.Name) and (base.id == "Exception" or base.id.endswith("Error"))


def test_the_diagram_has_each_phase() -> None:
    diagram = STATES.split("```mermaid", 1)[1].split("```", 1)[0]
    arrows = re.findall(r"^  (\S+) --> (\w+|\[\*\])", diagram, re.MULTILINE)
    assert {name for arrow in arrows for name in arrow} - {"[*]"} == {phase.value for phase in Phase}
    for phase in Phase:
        assert f"| {phase.value} |" in STATES
    ends = re.search(r"(\w+), (\w+), (\w+) and (\w+) are terminal", " ".join(STATES.split()))
    assert ends is not None
    assert set(ends.groups()) == {phase.value for phase in TERMINAL_PHASES}


def test_the_page_has_each_reason_of_a_running_backup() -> None:
    assert {reason for reason in RUNNING_REASONS if not re.search(rf"\b{reason}\b", STATES)} == set()


def test_the_map_names_each_exception() -> None:
    assert {name for name in _exceptions() if f"`{name}`" not in ERRORS} == set()


def test_the_map_names_exceptions_that_exist() -> None:
    rows = ERRORS.split("## Who raises what", 1)[1].split("\n## ", 1)[0].splitlines()
    named = {name for row in rows if row.startswith("|") for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert named - VALUES - _exceptions() == set()
    assert VALUES - {node.name for node in _classes()} == set()
    assert len(named) > 20
