"""How many of a policy's VMs are within its objective. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from operator import attrgetter

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuppolicy import MAX_LATE_VMS, LateVM, ObjectiveStatus
from sendense_operator.formatting import human_count, human_duration, human_list
from sendense_operator.reconcile.protection.chain_index import ChainEntry
from sendense_operator.reconcile.protection.objective import Assessment, Objective, ObjectiveReason, assess
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection


@dataclass(frozen=True)
class ObjectiveSummary:
    """A policy's VMs as its objective sees them."""

    objective: Objective
    vms: int
    worst: tuple[Assessment, ...]
    """Those that miss it, the worst first, as far as they are listed."""
    missed: int
    gone: int
    """VMs that do not count: vCenter no longer has them, or they are being deleted."""
    changes: datetime | None
    """When the first of the others becomes too old."""

    @property
    def status(self) -> ObjectiveStatus:
        """What the policy's status says."""
        within = self.vms - self.missed
        return ObjectiveStatus(
            vms=self.vms,
            within=within,
            summary=f"{within}/{self.vms}",
            worst=[LateVM(vm=one.vm, reason=one.reason, backup=one.backup, time=one.time) for one in self.worst],
        )


def summarize_objective(
    policy: PolicyEntry, selection: Selection, chain_of: Callable[[str], ChainEntry | None], now: datetime
) -> ObjectiveSummary | None:
    """Return the summary; None without an objective. `chain_of`: a VM's chain in the policy's repository."""
    objective = Objective.of(policy)
    if objective is None:
        return None
    found = [assess(vm, objective, chain_of(vm), now) for vm in selection.vms]
    missed = [one for one in found if not one.is_within]
    return ObjectiveSummary(
        objective=objective,
        vms=len(found),
        worst=tuple(nsmallest(MAX_LATE_VMS, missed, key=attrgetter("rank"))),
        missed=len(missed),
        gone=len(selection.gone),
        changes=min((one.until for one in found if one.until is not None), default=None),
    )


def with_objective(
    old: conditions.Conditions, summary: ObjectiveSummary | None, *, generation: int | None, now: datetime
) -> conditions.Conditions:
    """Return the conditions with whether all VMs are within the objective; none without an objective."""
    if summary is None:
        return conditions.without(old, conditions.OBJECTIVE)
    holds, reason, message = _aspect(summary)
    return conditions.with_aspect(old, conditions.OBJECTIVE, holds, reason, message, generation=generation, now=now)


def _aspect(summary: ObjectiveSummary) -> tuple[bool | None, ObjectiveReason, str]:
    gone = f"; {human_count(summary.gone, 'VM')} that vCenter no longer has do not count" if summary.gone else ""
    if not summary.vms:
        return None, ObjectiveReason.NO_VMS, f"the policy backs up no VM{gone}"
    age = human_duration(summary.objective.max_age.total_seconds())
    text = f"{summary.vms - summary.missed} of {human_count(summary.vms, 'VM')} have a restore point younger than {age}"
    if not summary.missed:
        return True, ObjectiveReason.WITHIN, text + gone
    suspended = "; the policy is suspended" if summary.objective.suspended else ""
    late = human_list([one.vm for one in summary.worst])
    more = f"the condition Protected of {late} says why"
    return False, ObjectiveReason.MISSED, f"{text}{gone}{suspended}; {more}"
