"""The time that a Backup or a Restore may take: until its first worker runs, and for all of its attempts together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1.base import Condition
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import ForbiddenError
from sendense_operator.cluster.kinds import NODE
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.workload.job_outcome import Lost, decide_lost

_OVERRUN_S: Final = 120.0
"""Beyond the time that the Job may take; by then it has long ended, unless its pod does not stop."""
_MIN_JOB_S: Final = 60


@dataclass(frozen=True)
class RunDeadlines:
    """The two deadlines of a spec, and what they are counted from."""

    created: datetime
    started: datetime | None
    """When the first worker ran."""
    start_seconds: int
    """`spec.startDeadlineSeconds`."""
    active_seconds: int
    """`spec.activeDeadlineSeconds`."""

    def overdue(self, now: datetime, ready: Condition | None) -> Problem | None:
        """Return the deadline that has passed while there is no worker; `ready`: what was waited for until now."""
        if self.started is not None:
            return self._late() if now - self.started > timedelta(seconds=self.active_seconds) else None
        if now - self.created <= timedelta(seconds=self.start_seconds):
            return None
        what = f"it waited for {ready.reason}: {ready.message}" if ready else "no controller processed it in that time"
        text = f"not started within spec.startDeadlineSeconds ({self.start_seconds} s); {what}"
        return Problem("StartDeadlineExceeded", text, Meaning.FINAL)

    def start_overdue(self, now: datetime, why: str) -> Problem | None:
        """Return the start deadline if it has passed while there is a Job; `why` its worker does not run."""
        if self.started is not None or now <= self.created + timedelta(seconds=self.start_seconds):
            return None
        text = f"no worker ran within spec.startDeadlineSeconds ({self.start_seconds} s): {why}"
        return Problem("StartDeadlineExceeded", text, Meaning.FINAL)

    def overrun(self, now: datetime, pod: Obj | None) -> Problem | None:
        """Return the active deadline if even the Job's own one could not stop the worker in `pod`."""
        if self.started is None or now - self.started <= timedelta(seconds=self.active_seconds + _OVERRUN_S):
            return None
        where = f"pod {pod['metadata']['name']} on node {pod['spec'].get('nodeName')}" if pod else "its Job"
        return self._late(f", and {where} does not stop")

    def job_seconds(self, now: datetime) -> int:
        """Return the seconds that a Job may take; less than the spec says when an earlier one had a part of them."""
        if self.started is None:
            return self.active_seconds
        left = self.active_seconds - int((now - self.started).total_seconds())
        return min(max(left, _MIN_JOB_S), self.active_seconds)

    def until_start_deadline(self, now: datetime) -> float:
        """Return the seconds until the start deadline has passed."""
        return max(self.start_seconds - (now - self.created).total_seconds() + 0.5, 0.5)

    @staticmethod
    def _late(more: str = "") -> Problem:
        text = f"it took longer than spec.activeDeadlineSeconds allows{more}"
        return Problem("ActiveDeadlineExceeded", text, Meaning.FINAL)


async def find_lost_node(ctx: ReconcileContext, pod: Obj) -> Lost | None:
    """Return the node of a worker's pod if it has been away for too long. Raises ClusterError."""
    name = pod["spec"].get("nodeName")
    if not name:
        return None
    try:
        node = await find(ctx.cluster, NODE, None, name)
    except ForbiddenError:
        return None
    return decide_lost(pod, node, ctx.now(), ctx.settings.node_lost_seconds)
