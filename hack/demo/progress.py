"""A running Backup or Restore as lines of text."""

from __future__ import annotations

import shutil
import sys
from typing import Any, Final

_WIDTH: Final = 30
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[2K"


def size(count: float) -> str:
    """Return the bytes for a person."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def bar(percent: int) -> str:
    """Return a bar of fixed width."""
    full = _WIDTH * max(0, min(percent, 100)) // 100
    return "█" * full + "░" * (_WIDTH - full)


def lines(run: dict[str, Any], seconds: float) -> list[str]:
    """Return one line for the whole, one for each disk; the same number of lines once the disks are known."""
    status = run.get("status") or {}
    progress = status.get("progress") or {}
    percent = int(progress.get("percent") or 0)
    facts = [f"{seconds:4.0f} s", *(str(progress[k]) for k in ("rate",) if progress.get(k))]
    if progress.get("eta"):
        facts.append(f"ETA {progress['eta']}")
    state = status.get("stage") or "Starting" if status.get("phase") == "Running" else status.get("phase")
    result = [f"  {state or 'Pending':<14} {bar(percent)} {percent:3d}%  {'  '.join(facts)}"]
    if not status.get("disks"):
        result[0] += f"  {status.get('message') or ''}".rstrip()
    result += [_disk(disk) for disk in status.get("disks") or ()]
    return result


def _disk(disk: dict[str, Any]) -> str:
    percent = int(disk.get("percent") or 0)
    count = disk.get("bytesTransferred") or disk.get("processedBytes") or 0
    done = f"{size(count)} of {size(disk['virtualSize'])}"
    return f"    disk {disk.get('id', disk.get('index')):<7} {bar(percent)} {percent:3d}%  {done}"


class Display:
    """Draws over itself on a terminal; elsewhere prints what changed."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._drawn = 0
        self._last = ""

    def show(self, run: dict[str, Any], seconds: float) -> None:
        """Draw the present state."""
        if self._live:
            self._redraw(lines(run, seconds))
        else:
            self._print(run, seconds)

    def _redraw(self, now: list[str]) -> None:
        up = _UP.format(self._drawn) if self._drawn else ""
        # A line that wraps would count twice.
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write(up + "".join(f"{_CLEAR_LINE}{line[:width]}\n" for line in now))
        sys.stdout.flush()
        self._drawn = len(now)

    def _print(self, run: dict[str, Any], seconds: float) -> None:
        # Without the clock: time alone is no news.
        state = "\n".join(lines(run, 0))
        if state != self._last:
            print("\n".join(lines(run, seconds)), flush=True)
            self._last = state
