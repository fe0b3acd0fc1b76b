"""What stops freeing, removing or sweeping in a chain, as its condition Freeing and an event tell it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backupchain import BackupChainStatus
from sendense_operator.catalogue_format import PASSING, Obstacle, ObstacleReason
from sendense_operator.reconcile.state.records import ChainView

RESUMED: Final = "Resumed"
_TEXT: Final = 1000
_LISTED: Final = 3
_ADVICE: Final = {
    ObstacleReason.MANIFEST_UNREADABLE: "Nothing is freed until it can be read: restore the file, or move it "
    "out of its folder if its restore point is given up",
    ObstacleReason.MANIFEST_NEWER: "Nothing is freed by this version: update the operator",
    ObstacleReason.LISTING_CHANGED: "The operator tries again; if this persists, check the storage's caches and who "
    "else writes there",
    ObstacleReason.CHAIN_BUSY: "It is tried again when that backup has ended",
    ObstacleReason.LAYER_PINNED: "It is tried again when that pod has ended",
    ObstacleReason.RETAINED: "It is tried again; if that time is over, check the clock of the maintenance pod's node",
    ObstacleReason.STORAGE_ERROR: "The operator tries again; if this persists, check the file and the storage",
    ObstacleReason.READ_ONLY: "The operator tries again; check the file's owner, mode and attributes (lsattr)",
    ObstacleReason.REPOSITORY_FULL: "It is tried again; make room on the volume",
}


@dataclass(frozen=True)
class Change:
    """What an event is to tell of a chain's condition Freeing."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def with_freeing(
    old: conditions.Conditions, view: ChainView | None, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """`old` with the condition Freeing as the repository's pod last reported. Without its word what was known stays."""
    if view is None:
        return old
    if view.chain.obstacles:
        first = view.chain.obstacles[0]
        reason, message = _reason_of(first), _describe(view.chain.obstacles)
        return conditions.with_aspect(old, conditions.FREEING, False, reason, message, generation=generation, now=now)
    if conditions.find(old, conditions.FREEING) is None:
        return old
    text = "nothing is in the way of freeing any more"
    return conditions.with_aspect(old, conditions.FREEING, True, RESUMED, text, generation=generation, now=now)


def _reason_of(obstacle: Obstacle) -> ObstacleReason:
    """Map an obstacle's reason to the API's closed list."""
    known = {reason.value: reason for reason in ObstacleReason}
    return known.get(obstacle.reason, ObstacleReason.STORAGE_ERROR)


def _describe(obstacles: Sequence[Obstacle]) -> str:
    texts = [obstacle.describe() for obstacle in obstacles[:_LISTED]]
    more = len(obstacles) - len(texts)
    text = "; ".join(texts)[:_TEXT] + (f" and {more} more" if more > 0 else "")
    return f"{text}. {_ADVICE[_reason_of(obstacles[0])]}"


def freeing_change(before: BackupChainStatus, after: BackupChainStatus) -> Change | None:
    """Return what to tell in an event: something new is in the way, or nothing is any more.

    A backup that is being made, or a verification, is no news: it passes.
    """
    old, new = (_freeing(status) for status in (before, after))
    if new is None or _key(old) == _key(new):
        return None
    if new["status"] != "False":
        was_told = old is not None and old["reason"] not in PASSING
        return Change("Normal", "FreeingResumed", new["message"]) if was_told else None
    if new["reason"] in PASSING:
        return None
    return Change("Warning", "FreeingStopped", new["message"])


def _freeing(status: BackupChainStatus) -> Mapping[str, Any] | None:
    return conditions.find(conditions.dicts_of(status), conditions.FREEING)


def _key(condition: Mapping[str, Any] | None) -> tuple[str, str, str] | None:
    return None if condition is None else (condition["status"], condition["reason"], condition["message"])
