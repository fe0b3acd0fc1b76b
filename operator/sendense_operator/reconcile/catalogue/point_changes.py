"""What reconciles change of a removed restore point: typed, like the changes of a Backup's status."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from sendense_operator.api.v1alpha1.backupchain import RemovalState, RemovedPoint


class PointChanges(TypedDict, total=False):
    """Fields of `RemovedPoint`; its Backup and when it was deleted never change."""

    state: RemovalState
    stored_bytes: int
    needed_by: str | None
    full: str | None
    kept_until: datetime | None


def changed_point(point: RemovedPoint, **changes: Unpack[PointChanges]) -> RemovedPoint:
    """Return `point` with the changes; nothing is validated, as with `model_copy`."""
    return point.model_copy(update=dict(changes))
