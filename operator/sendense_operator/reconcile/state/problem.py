"""What keeps something from going on, and what that means for a Backup."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Meaning(Enum):
    """What a Backup does about a problem."""

    WAIT = "wait"
    """It goes on when the thing is there; only the start's deadline ends it."""
    RETRY = "retry"
    """It may pass: tried again for a while, then the Backup fails."""
    FINAL = "final"
    """Trying again does not help: the Backup fails now."""


@dataclass(frozen=True)
class Problem:
    """`reason` is a condition's reason, `message` says to a person what is wrong and where to look."""

    reason: str
    message: str
    meaning: Meaning = Meaning.WAIT
