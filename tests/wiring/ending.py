"""How workers end."""

from __future__ import annotations

from enum import Enum, auto


class Ending(Enum):
    """How a worker's pod ends."""

    COMPLETE = auto()
    FAIL = auto()
    """Another attempt may succeed."""
    FATAL = auto()
    DIE = auto()
    """Without an answer."""
    COMMIT_AND_DIE = auto()
    """Killed after its commit, before it could answer."""
    EVICTED = auto()
    COMMIT_AND_VANISH = auto()
    """Committed, but the pod is gone before anybody could read its answer."""
    COMPLETE_AND_VANISH = auto()
    """Its answer was there for a moment."""
    FULL = auto()
    """The repository is."""
    DIE_AND_LEAVE_A_CLIENT = auto()
    STUCK = auto()
    """Gave up, and left a client that hangs on the appliance."""
    HANG = auto()
