"""What is measured, what is aimed at, and how both are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.kube import CHECKOUT

FILE: Final = CHECKOUT / "build" / "bench.json"
"""One flat object of name and number."""


@dataclass(frozen=True)
class Goal:
    """A number's meaning and its bound; without a bound it is only told."""

    text: str
    bound: float | None = None
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether the value is within the bound."""
        if self.bound is None:
            return True
        return value >= self.bound if self.at_least else value <= self.bound

    def shown(self) -> str:
        """The bound as a table has it."""
        if self.bound is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"


GOALS: Final[Mapping[str, Goal]] = {
    "data_ratio": Goal("qemu-img convert's time / the copy phase's, 4 GiB with 58% data", 0.7, at_least=True),
    "whole_ratio": Goal("qemu-img convert's time / from apply to Completed"),
    "convert_seconds": Goal("qemu-img convert -t none of that disk, mean of before and after"),
    "copy_seconds": Goal("its copy phase: from the appliance's first byte to its report of the end"),
    "whole_seconds": Goal("from apply to Completed"),
    "worker_mb": Goal("worker's memory while copying, most that was seen"),
    "fixed_seconds": Goal("an empty 1 GiB disk, apply to Completed, median of 5", 10),
    "controller_mb": Goal("controller's memory with 200 Completed Backups", 150),
    "reconciles_idle_minute": Goal("its reconciles in a minute in which nothing changes"),
}


def show(numbers: Mapping[str, float], say: Callable[[str], None] = print) -> bool:
    """Print the table and write FILE; whether every goal is met."""
    for name, value in numbers.items():
        goal = GOALS[name]
        verdict = "" if goal.bound is None else "ok" if goal.met(value) else "MISSED"
        say(f"{name:<24} {value:>9.2f}  {goal.shown():<14} {verdict:<7} {goal.text}")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=1) + "\n")
    return all(GOALS[name].met(value) for name, value in numbers.items())
