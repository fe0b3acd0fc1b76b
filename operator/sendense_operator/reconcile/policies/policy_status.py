"""What a policy's status says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, ScheduleStatus
from sendense_operator.api.v1alpha1.conditions import State
from sendense_operator.formatting import human_count, human_list
from sendense_operator.reconcile.protection.selection import Selection


def state_of(
    spec: BackupPolicySpec, selection: Selection, *, invalid: Sequence[str], rejected: str, has_repository: bool
) -> State:
    """Return the policy's state: the worst of what is wrong, else what it does.

    `invalid`: what is wrong with schedules; `rejected`: why the API server took no Backup.
    """
    repository = spec.repository_ref.name
    if invalid:
        return conditions.stalled("InvalidSchedule", f"{'; '.join(invalid)}. Other schedules run")
    if selection.conflicts:
        rulers = sorted(set(selection.conflicts.values()))
        text = (
            f"backed up to repository {repository} by an older policy ({human_list(rulers)}), and not by this one: "
            f"{human_list(sorted(selection.conflicts))}. Take them out of one of the policies"
        )
        return conditions.stalled("PolicyConflict", text)
    if not has_repository:
        text = f"there is no BackupRepository {repository}: Backups wait for it up to spec.startDeadlineSeconds"
        return conditions.reconciling("RepositoryNotFound", text)
    if selection.missing:
        text = f"spec.vmRefs names ProtectedVMs that do not exist: {human_list(selection.missing)}"
        return conditions.reconciling("VMNotFound", text)
    if selection.gone:
        return conditions.reconciling("VMVanished", f"not in vCenter any more: {human_list(selection.gone)}")
    if rejected:
        return conditions.reconciling("BackupRejected", f"{rejected}. It is tried again until the next slot")
    if not selection.vms:
        return conditions.reconciling("NoVMs", "no ProtectedVM of this namespace matches spec.vmSelector")
    return conditions.ready(*_working(spec, len(selection.vms)))


def _working(spec: BackupPolicySpec, count: int) -> tuple[str, str]:
    vms = human_count(count, "VM")
    active = sum(not schedule.suspend for schedule in spec.schedules)
    if spec.suspend or (spec.schedules and not active):
        return "Suspended", f"{vms}; no schedule runs"
    if not spec.schedules:
        return "Scheduled", f"{vms}, on request only"
    return "Scheduled", f"{vms}, {human_count(active, 'schedule')}"


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """Return the earliest of what is known."""
    return min((time for time in times if time is not None), default=None)


def next_slot(schedules: Iterable[ScheduleStatus]) -> datetime | None:
    """Return the next slot of all schedules."""
    return earliest(schedule.next_time for schedule in schedules)
