"""The message of a verification's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TEXT: Final = 500
_NAMES_TEXT: Final = 240


@dataclass(frozen=True)
class Damaged:
    """A restore point that does not read as it was written."""

    backup: str
    disk: int
    """Index of its first disk that is damaged."""
    text: str


def describe_damage(damaged: Sequence[Damaged], total: int) -> str:
    """Return how many of `total` restore points are damaged, their names, and what is wrong with the first."""
    if not damaged:
        return ""
    names = [item.backup for item in damaged]
    shown = 1
    while shown < len(names) and len(", ".join(names[: shown + 1])) <= _NAMES_TEXT:
        shown += 1
    listed = ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if shown < len(names) else "")
    verb = "does" if len(damaged) == 1 else "do"
    was = "it was" if len(damaged) == 1 else "they were"
    first = damaged[0]
    text = (
        f"{len(damaged)} of {total} restore points {verb} not read as {was} written: {listed}. "
        f"Disk {first.disk}: {first.text}"
    )
    return text[:MOST_TEXT]


def describe_failures(failed: Sequence[tuple[str, str]], total: int) -> str:
    """Return how many of `total` restore points could not be verified. `failed`: Backup and error of each."""
    if not failed:
        return ""
    name, text = failed[0]
    return f"{len(failed)} of {total} restore points could not be verified; {name}: {text}"[:MOST_TEXT]
