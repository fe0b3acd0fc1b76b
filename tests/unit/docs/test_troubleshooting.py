"""The documentation has what the programs say: the reasons that they give, the columns that kubectl shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sendense_operator.api.v1alpha1 import RESOURCES
from sendense_operator.chain.integrity import IntegrityReason
from sendense_operator.consolidation_task import ConsolidationObstacle
from sendense_operator.reconcile.protection.objective import ObjectiveReason
from sendense_operator.reconcile.protection.retention_reports import RetentionReason
from sendense_operator.reconcile.protection.verification_reports import VerificationReason
from sendense_operator.task import FullReason
from sendense_operator.worker.errors import Reason

CHECKOUT: Final = Path(__file__).resolve().parents[3]
DOCS: Final = CHECKOUT / "docs"
TROUBLESHOOTING: Final = (DOCS / "operations" / "troubleshooting.md").read_text(encoding="utf-8")
INCREMENTALS: Final = (DOCS / "guide" / "incrementals.md").read_text(encoding="utf-8")
PAGES: Final = (CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md")))
SOURCES: Final = sorted((CHECKOUT / "operator").rglob("*.py"))

POSITIONS: Final = {
    "Problem": 0, "Waits": 0, "Failed": 0, "stalled": 0, "reconciling": 0, "WorkerError": 0, "Ended": 1, "fail": 2,
}  # fmt: skip
"""Where the reason stands among the arguments of what makes or ends a wait."""
WARNING: Final = (1, 2)
"""Where `events.post` has the type of an Event, and its reason."""
ORDINARY: Final = frozenset(
    {
        "Accepted",
        "Adopting",
        "Applied",
        "Cancelling",
        "ContentVerified",
        "Ending",
        "NoObjective",
        "NoRestorePoints",
        "NotChecked",
        "PortsChanging",
        "Probing",
        "Recovering",
        "Restored",
        "Retrying",
        "SenderStarting",
        "Served",
        "Serving",
        "Starting",
        "StructureVerified",
        "Verified",
        "WithinObjective",
    }
)
"""What passes by itself, or was wanted."""


def _headings() -> list[str]:
    return re.findall(r"^### (.*)$", TROUBLESHOOTING, re.MULTILINE)


def _documented() -> set[str]:
    return {reason for heading in _headings() for reason in re.findall(r"`([A-Za-z]+)`", heading)}


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


def test_each_reason_has_one_anchor() -> None:
    assert [heading for heading in _headings() if not re.fullmatch(r"`[A-Za-z]+`", heading)] == []
    anchors = [heading.strip("`").lower() for heading in _headings()]
    assert len(anchors) > 90
    assert sorted(set(anchors)) == sorted(anchors)


def test_each_reason_says_what_to_do() -> None:
    sections = re.split(r"^#{2,3} ", TROUBLESHOOTING, flags=re.MULTILINE)
    empty = [text.splitlines()[0] for text in sections if text.startswith("`") and len(text.splitlines()) < 3]
    assert empty == []


def test_it_explains_reasons_that_exist() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert {reason for reason in _documented() if f'"{reason}"' not in code} == set()


def test_it_explains_each_reason_of_a_worker() -> None:
    assert {str(reason) for reason in (*Reason, *IntegrityReason)} - _documented() == set()


def test_it_explains_each_reason_of_retention() -> None:
    assert {str(reason) for reason in RetentionReason} - _documented() - ORDINARY == set()


def test_it_explains_each_reason_of_an_objective() -> None:
    assert {str(reason) for reason in ObjectiveReason} - _documented() - ORDINARY == set()


def test_it_explains_each_reason_of_verification() -> None:
    assert {str(reason) for reason in VerificationReason} - _documented() - ORDINARY == set()


def test_it_explains_each_obstacle_of_a_consolidation() -> None:
    assert {str(reason) for reason in ConsolidationObstacle} - _documented() == set()


def test_it_explains_each_reason_that_is_written_out() -> None:
    given = {reason for path in SOURCES for reason in _given(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"VMNameBusy", "NamespaceTerminating", "WorkerFailed", "ScanIncomplete", "NodeLost"} <= given, (
        "they are found"
    )
    assert given - _documented() - ORDINARY == set()


def test_it_names_the_ordinary_reasons() -> None:
    named = set(re.findall(r"`([A-Za-z]+)`", TROUBLESHOOTING))
    assert named >= ORDINARY


def test_it_explains_why_a_disk_is_a_full() -> None:
    table = INCREMENTALS.split("| `status.disks[].reason` |", 1)[1].split("\n\n", 1)[0]
    explained = set(re.findall(r"`([A-Za-z]+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    assert explained == {str(reason) for reason in FullReason}


def test_it_shows_the_columns_of_kubectl() -> None:
    # the screens of the command line have columns of their own: tests/unit/cli/test_screens.py
    pages = [page for page in PAGES if page.name != "command-line.md"]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    shown = [line.split() for line in lines if line.startswith("NAME ")]
    columns = [[column.name.upper() for column in resource.columns if column.priority == 0] for resource in RESOURCES]
    assert len(shown) == 3
    assert [header for header in shown if header[1:] not in columns] == []
