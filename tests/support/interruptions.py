"""Functions of the worker that end at one of their steps, as if its process did."""

from __future__ import annotations

from collections.abc import Callable


class CutShort(Exception):  # noqa: N818
    """Stands for the end of the process."""


def cut_at(number: int) -> Callable[[str], None]:
    """Return what a function calls at each of its steps, which raises CutShort before the one of that number."""
    left = number

    def on_step(_: str) -> None:
        nonlocal left
        if left == 0:
            raise CutShort
        left -= 1

    return on_step
