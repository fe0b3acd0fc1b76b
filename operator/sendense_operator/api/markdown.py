"""Parts of generated pages, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

_WIDTH: Final = 100
"""Characters per line of prose, as in the pages that are written by hand."""


def escaped(text: str) -> str:
    """Return `text` with Markdown's special characters escaped outside of code spans."""
    pieces = text.split("`")
    pieces[::2] = [piece.replace("<", "&lt;").replace("_", r"\_").replace("*", r"\*") for piece in pieces[::2]]
    return "`".join(pieces).replace("|", r"\|")


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; the cells are Markdown already."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def wrapped(text: str) -> str:
    """Return one paragraph, broken into lines."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
