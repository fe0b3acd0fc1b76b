"""Which Backups a policy creates now, and when the next are due. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendense_operator.api.v1alpha1 import names
from sendense_operator.api.v1alpha1.backup import BackupSpec, RequestedType
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, ScheduleStatus
from sendense_operator.api.v1alpha1.base import LocalRef
from sendense_operator.cluster.object_names import policy_backup_name, run_digest
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.protection.slots import offsets, window
from sendense_operator.reconcile.state.pruning import KEPT_FROM_PRUNING


@dataclass(frozen=True)
class Run:
    """A slot of a schedule, or a request, for which a Backup of each VM is created."""

    key: str
    """Unique within the policy, the same after a restart."""
    schedule: str
    """Name of the schedule; empty: on request."""
    type: RequestedType
    suffix: str
    """Part of its Backups' names that stands for the run."""
    started: datetime
    spread: timedelta
    """Over which its Backups are created, evenly."""
    title: str
    """The run in words, for messages."""
    request: str = ""
    """Value of the annotation that requested it."""


@dataclass(frozen=True)
class DueBackup:
    """A Backup to create."""

    run: Run
    vm: str
    name: str


def run_of_slot(spec: BackupPolicySpec, state: ScheduleStatus) -> Run | None:
    """Return the run of a schedule's slot of which Backups are still to be created."""
    if not state.open or state.slot is None or state.started is None:
        return None
    schedule = next(one for one in spec.schedules if one.name == state.name)
    stamp = f"{state.slot:%Y%m%d%H%M}"
    return Run(
        key=f"{schedule.name} {stamp}",
        schedule=schedule.name,
        type=schedule.type or spec.backup.type,
        suffix=stamp,
        started=state.started,
        spread=window(state, timedelta(seconds=spec.jitter_seconds)),
        title=f"schedule {schedule.name}, slot {state.slot:%Y-%m-%dT%H:%MZ}",
    )


def run_of_request(spec: BackupPolicySpec, request: str, now: datetime) -> Run:
    """Return the run that a value of the annotation requests."""
    return Run(
        key=f"request {request}",
        schedule="",
        type=spec.backup.type,
        suffix=run_digest(request),
        started=now,
        spread=timedelta(),
        title="run on request",
        request=request,
    )


def due_backups(
    policy: str, run: Run, vms: Sequence[str], done: Collection[str], now: datetime
) -> tuple[list[DueBackup], datetime | None]:
    """Return what is due of a run, and when the next of it is. `done`: VMs for which nothing is left to do."""
    due = list[DueBackup]()
    for vm, offset in offsets(vms, policy, run.spread):
        if vm in done:
            continue
        if run.started + offset > now:
            return due, run.started + offset
        due.append(DueBackup(run, vm, policy_backup_name(vm, policy, run.suffix)))
    return due, None


def build_backup(namespace: str, policy: str, spec: BackupPolicySpec, due: DueBackup) -> Obj:
    """Return the Backup to create. It has no owner: deleting a policy deletes no Backup."""
    template, repository = spec.backup, spec.repository_ref.name
    incremental = due.run.type is RequestedType.INCREMENTAL
    backup = BackupSpec(
        vm_ref=LocalRef(name=due.vm),
        repository_ref=spec.repository_ref,
        policy_ref=LocalRef(name=policy),
        type=due.run.type,
        deletion_policy=template.deletion_policy,
        retries=template.retries,
        start_deadline_seconds=spec.start_deadline_seconds,
        active_deadline_seconds=template.active_deadline_seconds,
    )
    if incremental:
        backup.on_missing_parent = template.on_missing_parent
    labels = {
        names.LABEL_VM: due.vm,
        names.LABEL_REPOSITORY: repository,
        names.LABEL_TYPE: due.run.type.value,
        names.LABEL_POLICY: policy,
    }
    if due.run.schedule:
        labels[names.LABEL_SCHEDULE] = due.run.schedule
    meta = {"namespace": namespace, "name": due.name, "labels": labels, "annotations": dict(KEPT_FROM_PRUNING)}
    return {"metadata": meta, "spec": backup.to_dict()}
