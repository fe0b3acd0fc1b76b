"""Bars that redraw themselves on a terminal; elsewhere a line when something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sendense_operator.cli.run_bars import Bar, bars_of, described, has_completed, has_ended, line_of
from sendense_operator.cli.screen import Screen, Tone, styled

Obj = Mapping[str, Any]
_BAR_WIDTH: Final = 16
_PER_SECOND: Final = 4


class RunDisplay:
    """Shows Backups or Restores while they run. Use as a context manager."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._live = Live(console=screen.console, refresh_per_second=_PER_SECOND) if screen.live else None
        self._printed: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, runs: Sequence[Obj]) -> None:
        """Draw the present state of all."""
        if self._live is not None:
            self._live.update(_drawn(runs), refresh=True)
            return
        for run in runs:
            line = line_of(run)
            name = line.partition(":")[0]
            if self._printed.get(name) != line:
                self._screen.line(line)
                self._screen.console.file.flush()
                self._printed[name] = line


def _drawn(runs: Sequence[Obj]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(overflow="ellipsis", no_wrap=True, max_width=26)
    for _ in range(2):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
    for run in runs:
        for bar in bars_of(run):
            grid.add_row(*_row(run, bar))
    return grid


def _row(run: Obj, bar: Bar) -> tuple[Any, ...]:
    tone = Tone.BUSY if not has_ended(run) else Tone.GOOD if has_completed(run) else Tone.BAD
    drawn = ProgressBar(total=100, completed=bar.percent, width=_BAR_WIDTH, complete_style=tone, finished_style=tone)
    label = Text("  ").append_text(styled(bar.label)) if bar.is_disk else styled(bar.label)
    words = bar.size if bar.is_disk else described(run)
    facts = (words, bar.rate, f"ETA {bar.eta}" if bar.eta else "")
    return label, drawn, styled(f"{bar.percent}%"), styled(" ".join(fact for fact in facts if fact))
