"""The README stays short, and leads to pages and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[3]
README: Final = CHECKOUT / "README.md"
PAGES: Final = sorted((CHECKOUT / "docs").rglob("*.md"))
CHART: Final = CHECKOUT / "charts" / "sendense-backup" / "README.md"
OUTSIDE: Final = (
    README,
    CHART,
    CHECKOUT / "CONTRIBUTING.md",
    *(CHECKOUT / d / "README.md" for d in ("operator", "hack")),
)
"""Pages that are no part of the site: mkdocs checks the links of the others."""
WIDTH: Final = 100


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#{1,6} (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_readme_is_short() -> None:
    assert README.stat().st_size <= 5000


def test_the_readme_names_each_page() -> None:
    linked = set(re.findall(r"\((docs/[\w/.-]+\.md)", README.read_text(encoding="utf-8")))
    assert linked == {str(page.relative_to(CHECKOUT)) for page in PAGES if page.name != "index.md"}


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
        goal = (page.parent / target).resolve() if target else page
        assert goal.exists(), target
        assert not anchor or anchor in _anchors(goal), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [README, CHART, *PAGES], ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_prose_is_wrapped(page: Path) -> None:
    """Tables, links and commands can't be."""
    prose = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in prose.splitlines() if len(line) > WIDTH and not line.startswith("|")]
    assert long == []
