"""What Backups and Restores have in common while they are checked: they run once, and come to an end."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backup import BackupStatus
from sendense_operator.api.v1alpha1.restore import RestoreStatus
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.reconcile.state.context import ReconcileContext

RunStatus = BackupStatus | RestoreStatus
_S = TypeVar("_S", BackupStatus, RestoreStatus)


class ObservedRun:
    """An object as it was read; subclasses have its typed spec, too."""

    obj: Obj
    status: RunStatus

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.obj["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.obj["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.obj["metadata"]["uid"])

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self.status.phase in conditions.TERMINAL_PHASES

    @property
    def ready_reason(self) -> str:
        """Reason of its Ready condition; empty before the first one."""
        ready = conditions.of_status(self.status, conditions.READY)
        return ready.reason if ready else ""


def seconds_of_run(started: datetime | None, ended: datetime) -> int | None:
    """Return the whole seconds from the start of the first worker to the end; None if there was none."""
    return max(int((ended - started).total_seconds()), 0) if started is not None else None


async def acknowledge(ctx: ReconcileContext, kind: Kind, obj: Obj, status: _S) -> _S:
    """Say of an object that is over that its spec is known as it is now, and return that status.

    What may be edited by then changes nothing of its end, but kstatus takes an older observedGeneration for work that
    is still to be done.
    """
    generation = obj["metadata"].get("generation")
    known = status.model_copy(deep=True)
    known.observed_generation = generation
    for condition in known.conditions:
        condition.observed_generation = generation
    await write_status(ctx.cluster, kind, obj, known)
    return known
