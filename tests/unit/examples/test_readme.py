"""The README says what the programs say: the reasons that they give, the columns that kubectl shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sendense_operator.api.v1alpha1 import RESOURCES
from sendense_operator.chain.integrity import IntegrityReason
from sendense_operator.task import FullReason
from sendense_operator.worker.errors import Reason

CHECKOUT: Final = Path(__file__).resolve().parents[3]
README: Final = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SOURCES: Final = sorted((CHECKOUT / "operator").rglob("*.py"))

POSITIONS: Final = {
    "Problem": 0, "Waits": 0, "Failed": 0, "stalled": 0, "reconciling": 0, "WorkerError": 0, "Ended": 1, "fail": 2,
}  # fmt: skip
"""Where the reason stands among the arguments of what makes or ends a wait."""
WARNING: Final = (1, 2)
"""Where `events.post` has the type of an Event, and its reason."""
ORDINARY: Final = frozenset(
    {
        "Adopting",
        "Cancelling",
        "Ending",
        "NoRestorePoints",
        "PortsChanging",
        "Probing",
        "Recovering",
        "Retrying",
        "Starting",
    }
)
"""What passes by itself, or was wanted."""


def _documented() -> set[str]:
    table = README.split("## When it does not go on", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {reason for row in rows for reason in re.findall(r"`([A-Za-z]+)`", row)}


def _given(source: ast.AST) -> Iterator[str]:
    """Reasons that are written out where something waits, fails or is warned of."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call):
            yield from _texts(_reason_of(node))
        elif isinstance(node, ast.Assign) and _names_a_reason(node.targets):
            yield from _texts(node.value)


def _reason_of(call: ast.Call) -> ast.expr | None:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    at = POSITIONS.get(name)
    if name == "post":
        kind, reason = WARNING
        at = reason if len(call.args) > reason and "Warning" in _texts(call.args[kind]) else None
    return call.args[at] if at is not None and len(call.args) > at else None


def _names_a_reason(targets: list[ast.expr]) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "reason" for target in targets for node in ast.walk(target))


def _texts(expression: ast.expr | None) -> list[str]:
    """Of all branches: `answer.reason or "X"`, `"X" if … else "Y"`."""
    found = [node.value for node in ast.walk(expression) if isinstance(node, ast.Constant)] if expression else []
    return [text for text in found if isinstance(text, str) and re.fullmatch("[A-Z][A-Za-z]+", text)]


def test_it_explains_reasons_that_exist() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert {reason for reason in _documented() if f'"{reason}"' not in code} == set()


def test_it_explains_each_reason_of_a_worker() -> None:
    assert {str(reason) for reason in (*Reason, *IntegrityReason)} - _documented() == set()


def test_it_explains_each_reason_that_is_written_out() -> None:
    given = {reason for path in SOURCES for reason in _given(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"VMNameBusy", "NamespaceTerminating", "WorkerFailed", "ScanIncomplete", "NodeLost"} <= given, (
        "they are found"
    )
    assert given - _documented() - ORDINARY == set()


def test_it_explains_why_a_disk_is_a_full() -> None:
    table = README.split("| `status.disks[].reason` |", 1)[1].split("\n\n", 1)[0]
    assert {str(reason) for reason in FullReason} - set(re.findall(r"`([A-Za-z]+)`", table)) == set()


def test_it_shows_the_columns_of_kubectl() -> None:
    shown = [line.split() for line in README.splitlines() if line.startswith("NAME ")]
    columns = [[column.name.upper() for column in resource.columns if column.priority == 0] for resource in RESOURCES]
    assert shown
    assert [header for header in shown if header[1:] not in columns] == []
