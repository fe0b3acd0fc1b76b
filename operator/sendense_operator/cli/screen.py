"""What a command prints. Text of other programs never reaches the terminal as escapes or markup."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sendense_operator.cli.plain_text import clean

_PIPE_WIDTH: Final = 4096
"""Columns where nobody looks: nothing is cut or wrapped, so that `grep` finds it."""


class Tone(StrEnum):
    """Colours, by what they say."""

    GOOD = "green"
    BUSY = "cyan"
    WARNING = "yellow"
    BAD = "red"
    PLAIN = "default"
    FAINT = "dim"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of any origin, and its tone."""

    text: object
    tone: Tone = Tone.PLAIN


Cells = Sequence[Cell | str]


def styled(cell: Cell | str) -> Text:
    """Return the cell as rich prints it: without markup, without control characters."""
    tone = cell.tone if isinstance(cell, Cell) else Tone.PLAIN
    return Text(clean(cell.text if isinstance(cell, Cell) else cell), style="" if tone is Tone.PLAIN else tone.value)


def table(columns: Sequence[str], rows: Sequence[Cells], *, right: Sequence[str] = ()) -> Table:
    """Return a table without lines, as `kubectl` draws it. `right`: columns of numbers."""
    drawn = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False, show_header=any(columns)
    )
    for name in columns:
        drawn.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(styled(cell) for cell in row))
    return drawn


class Screen:
    """Standard output and standard error."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.console = _console(out or sys.stdout)
        self._errors = _console(err or sys.stderr)

    @property
    def live(self) -> bool:
        """Whether somebody looks: a terminal that can redraw."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def show(self, *things: RenderableType) -> None:
        """Print tables, trees or texts that this package made."""
        for thing in things:
            self.console.print(thing, soft_wrap=isinstance(thing, Text))

    def line(self, *cells: Cell | str, indent: int = 0) -> None:
        """Print one line of cells, separated by spaces; the terminal wraps it."""
        words = (found for cell in cells if (found := styled(cell)))
        self.show(Text(" " * indent).append_text(Text(" ").join(words)))

    def raw(self, text: str) -> None:
        """Print text that holds no control characters, such as JSON, as it is."""
        self.console.out(text.removesuffix("\n"), highlight=False)

    def note(self, message: object, tone: Tone = Tone.WARNING) -> None:
        """Print a line on standard error."""
        self._errors.print(styled(Cell(message, tone)), soft_wrap=True)

    def ask(self, question: str, read: Callable[[], str] = input) -> bool:
        """Return whether the answer is yes; no answer is none. Raises KeyboardInterrupt at Ctrl-C."""
        self._errors.print(styled(f"{question} [y/N]"), end=" ", soft_wrap=True)
        # asyncio's own handler would only cancel the task, which can't be while it reads
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return read().strip().lower() in ("y", "yes")
        except EOFError:
            return False
        finally:
            signal.signal(signal.SIGINT, before)


def _console(file: TextIO) -> Console:
    console = Console(file=file, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console
