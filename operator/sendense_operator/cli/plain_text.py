"""Text of other programs, such as names in vCenter, for a terminal. Pure."""

from __future__ import annotations

from typing import Final

_LIMIT: Final = 4096
_CUT: Final = "…"


def clean(value: object) -> str:
    """Return one line without control characters, at most 4096 characters.

    A terminal obeys what is in its text: an escape sequence in the name of a VM could move the cursor or write to the
    clipboard. Marks that turn the direction of writing are left out too.
    """
    text = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in str(value)[: 2 * _LIMIT])
    line = " ".join(text.split())
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1] + _CUT
