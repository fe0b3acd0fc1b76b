"""Restore points that `spec.immutability` of their BackupRepository protects, as the controller sees them. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupStatus, Phase
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.chain.immutable_window import retained_until
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import whole_seconds
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, ready_condition
from sendense_operator.task import Immutability

_SLACK: Final = timedelta(minutes=1)
"""Time after the end of a window until a removal is requested: the clock of the pod must agree that it is over."""
_LONGEST_WAIT: Final = timedelta(hours=1)
"""Between two checks whether a window is over: clocks are set, and days are changed."""
_COMMITTED: Final = frozenset({Phase.COMPLETED, Phase.DELETING})


def immutability_of(spec: BackupRepositorySpec, now: datetime) -> Immutability:
    """Return what a task says of immutability. `now`: time by the API server's clock."""
    return Immutability(now=whole_seconds(now), days=days_of(spec))


def days_of(spec: BackupRepositorySpec | None) -> int | None:
    """Return the days of `spec.immutability`; None: no days."""
    return spec.immutability.days if spec is not None and spec.immutability is not None else None


def immutable_until(status: BackupStatus, spec: BackupRepositorySpec | None) -> datetime | None:
    """Return until when the restore point of a Backup is immutable; None: it is not, or there is none.

    One that is lost, or of which no manifest is known, waits for nothing here: the worker refuses to remove it if it
    is in the repository all the same.
    """
    if status.phase not in _COMMITTED or status.manifest is None or status.completion_time is None:
        return None
    until = retained_until(status.completion_time, status.retained_until, days_of(spec))
    return whole_seconds(until) if until is not None else None


def is_immutable(until: datetime | None, now: datetime) -> bool:
    """Return whether a restore point is still immutable. `until`: from `immutable_until`; `now`: as the API server."""
    return until is not None and now - _SLACK < until


def waits_for_its_time(backup: Obj) -> bool:
    """Return whether a deleted Backup is still a restore point, because that is immutable: it can be restored."""
    ready = ready_condition(backup)
    return is_deleting(backup) and ready is not None and ready["reason"] == conditions.REASON_RETAINED


def seconds_left(until: datetime, now: datetime) -> float:
    """Return seconds until the next check of a restore point that is immutable until then."""
    return max(1.0, min(until - now + _SLACK, _LONGEST_WAIT).total_seconds())
