"""BackupPolicy: creates the Backups that are due, and says what it protects.

Nothing is written before the Backups are created: their names tell whether a run had created them, so a controller
that dies in between repeats the run without a second Backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import RequestedType
from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, BackupPolicyStatus
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError
from sendense_operator.cluster.kinds import BACKUP, BACKUP_POLICY, BACKUP_REPOSITORY
from sendense_operator.cluster.listing import collect
from sendense_operator.cluster.objects import Obj
from sendense_operator.cluster.status_writer import write_status
from sendense_operator.formatting import human_count, human_list, whole_seconds
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.policies.objective_summary import (
    ObjectiveSummary,
    summarize_objective,
    with_objective,
)
from sendense_operator.reconcile.policies.policy_status import earliest, next_slot, state_of
from sendense_operator.reconcile.policies.retention_summary import summarize, with_retention_summary
from sendense_operator.reconcile.policies.ruled_vms import RuledVMs
from sendense_operator.reconcile.policies.runs import (
    DueBackup,
    Run,
    build_backup,
    due_backups,
    run_of_request,
    run_of_slot,
)
from sendense_operator.reconcile.policies.verification_summary import (
    summarize_verification,
    with_verification_summary,
)
from sendense_operator.reconcile.protection.protection_index import ProtectionIndex
from sendense_operator.reconcile.protection.selection import PolicyEntry, Selection, select
from sendense_operator.reconcile.protection.slots import advance
from sendense_operator.reconcile.protection.time_zones import InvalidScheduleError
from sendense_operator.reconcile.state.context import ReconcileContext
from sendense_operator.reconcile.state.keys import ChainKey
from sendense_operator.reconcile.state.kubernetes_objects import created, in_no_phase_of, is_deleting, requested_by
from sendense_operator.reconcile.state.recent import Recent

UNSYNCED_S: Final = 1.0
RETRY_S: Final = 60.0
"""Seconds until a Backup that the API server rejected is tried again."""
LONGEST_S: Final = 3600.0
"""Until the next check, in case a clock was set."""
_ABREAST: Final = 8
"""Backups created at the same time."""
_UNFINISHED: Final = in_no_phase_of(conditions.TERMINAL_PHASES)


@dataclass
class Outcomes:
    """What became of a run's VMs so far. Lost with the process: names of Backups tell the rest."""

    created: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)
    """By VM, why the API server rejected the Backup; it is tried again."""

    @property
    def done(self) -> set[str]:
        """VMs for which nothing is left to do."""
        return self.created | self.skipped


@dataclass
class _Check:
    """A policy as it is being checked."""

    obj: Obj
    spec: BackupPolicySpec
    status: BackupPolicyStatus
    selection: Selection
    now: datetime
    objective: ObjectiveSummary | None = None
    invalid: list[str] = field(default_factory=list)
    rejected: str = ""

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])


class PolicyReconciler:
    """Checks policies; `index` holds what they choose from."""

    def __init__(self, ctx: ReconcileContext, index: ProtectionIndex) -> None:
        self._ctx = ctx
        self._index = index
        self._ruled = RuledVMs(ctx, index)
        self._outcomes = Recent[str, Outcomes](5000)

    async def __call__(self, namespace: str, name: str) -> float | None:
        """Create what is due; return the seconds until more is."""
        obj = await find(self._ctx.cluster, BACKUP_POLICY, namespace, name)
        if obj is None or is_deleting(obj):
            return None
        if not self._index.synced():
            return UNSYNCED_S
        check = self._begin(obj)
        self._ruled.update(ObjectKey(namespace, name), check.selection)
        await self._advance(check)
        nearest = await self._run_all(check)
        await self._write(check)
        late = check.objective.changes if check.objective is not None else None
        times = earliest([nearest, check.status.next_time, late])
        rest = LONGEST_S if times is None else max((times - self._ctx.now()).total_seconds(), 0.1)
        return min(rest, RETRY_S if check.rejected else LONGEST_S)

    def forget_missing(self, namespace: str) -> None:
        """Let go of policies that are not there any more; see `RuledVMs`."""
        self._ruled.forget_missing(namespace)

    def _begin(self, obj: Obj) -> _Check:
        namespace = obj["metadata"]["namespace"]
        spec = BackupPolicySpec.model_validate(obj["spec"])
        entry = PolicyEntry.with_spec(obj, spec)
        selection = select(entry, self._index.vms.candidates(entry), self._index.policies.of(namespace))
        now, repository = self._ctx.now(), entry.repository
        objective = summarize_objective(
            entry, selection, lambda vm: self._index.chains.find(namespace, ChainKey(vm, repository)), now
        )
        status = BackupPolicyStatus.model_validate(obj.get("status") or {})
        return _Check(obj, spec, status, selection, now, objective)

    async def _advance(self, check: _Check) -> None:
        """Bring each schedule to now."""
        spec, known = check.spec, {state.name: state for state in check.status.schedules}
        # What is added to a policy later begins when it is seen: its slots of before were never wanted.
        begin = created(check.obj) if check.status.observed_generation is None else check.now
        states = []
        for schedule in spec.schedules:
            try:
                advanced = advance(
                    schedule,
                    known.get(schedule.name),
                    begin=begin,
                    suspended=spec.suspend,
                    catch_up=spec.catch_up,
                    now=check.now,
                )
            except InvalidScheduleError as error:
                check.invalid.append(f"schedule {schedule.name}: {error}")
                continue
            states.append(advanced.status)
            if advanced.missed is not None:
                text = f"schedule {schedule.name}: slot {advanced.missed:%Y-%m-%dT%H:%MZ} was missed (catchUp: Skip)"
                await self._ctx.events.post(check.obj, "Warning", "SlotSkipped", text)
        check.status.schedules = states
        check.status.next_time = next_slot(states)

    async def _run_all(self, check: _Check) -> datetime | None:
        """Create what is due of all runs; return when more of them is."""
        runs = [run for state in check.status.schedules if (run := run_of_slot(check.spec, state))]
        request = requested_by(check.obj, names.ANNOTATION_RUN)
        if request and request != check.status.last_request:
            runs.append(run_of_request(check.spec, request, check.now))
        # Slots of two schedules may fall on the same minute: their Backups share their names, and a full serves both.
        runs.sort(key=lambda run: run.type is not RequestedType.FULL)
        nearest: datetime | None = None
        for run in runs:
            more = await self._run(check, run)
            nearest = earliest([nearest, more])
        return nearest

    async def _run(self, check: _Check, run: Run) -> datetime | None:
        key = f"{check.obj['metadata']['uid']} {run.key}"
        outcomes = self._outcomes.get(key) or Outcomes()
        self._outcomes.put(key, outcomes)
        due, more = due_backups(check.name, run, check.selection.vms, outcomes.done, check.now)
        if due:
            busy = await self._busy(check)
            for start in range(0, len(due), _ABREAST):
                some = due[start : start + _ABREAST]
                await asyncio.gather(*(self._create(check, one, busy, outcomes) for one in some))
            check.status.last_time = whole_seconds(check.now)
        if outcomes.rejected:
            vm, why = next(iter(outcomes.rejected.items()))
            check.rejected = f"no Backup of {vm} could be created: {why}"
        if more is None and not outcomes.rejected:
            await self._end(check, run, outcomes)
        return more

    async def _busy(self, check: _Check) -> Mapping[str, str]:
        """Return VMs with a Backup to this repository that has not ended, and its name."""

        def take(obj: Obj) -> tuple[str, str] | None:
            return None if is_deleting(obj) else (obj["spec"]["vmRef"]["name"], obj["metadata"]["name"])

        fields = f"spec.repositoryRef.name={check.spec.repository_ref.name},{_UNFINISHED}"
        return dict(await collect(self._ctx.cluster, BACKUP, check.namespace, take, fields=fields))

    async def _create(self, check: _Check, due: DueBackup, busy: Mapping[str, str], outcomes: Outcomes) -> None:
        outcomes.rejected.pop(due.vm, None)
        if busy.get(due.vm, due.name) != due.name:
            outcomes.skipped.add(due.vm)
            return
        backup = build_backup(check.namespace, check.name, check.spec, due)
        try:
            await self._ctx.cluster.create(BACKUP, backup)
        except AlreadyExistsError:
            pass  # by this run before a restart, or by hand: the name stands for the slot
        except (ForbiddenError, InvalidError) as error:
            outcomes.rejected[due.vm] = str(error)
            return
        outcomes.created.add(due.vm)

    async def _end(self, check: _Check, run: Run, outcomes: Outcomes) -> None:
        """Close a run of which nothing is left to do."""
        for state in check.status.schedules:
            if state.name == run.schedule:
                state.open = False
        if run.request:
            check.status.last_request = run.request
        check.status.last_created, check.status.last_skipped = len(outcomes.created), len(outcomes.skipped)
        if outcomes.created:
            text = f"{run.title}: {human_count(len(outcomes.created), 'Backup')}"
            await self._ctx.events.post(check.obj, "Normal", "BackupsCreated", text)
        if outcomes.skipped:
            text = (
                f"{run.title}: left out, since an earlier Backup has not ended: {human_list(sorted(outcomes.skipped))}"
            )
            await self._ctx.events.post(check.obj, "Warning", "BackupsSkipped", text)

    async def _write(self, check: _Check) -> None:
        status, selection = check.status, check.selection
        old = status.model_copy()
        repository = await find(self._ctx.cluster, BACKUP_REPOSITORY, check.namespace, check.spec.repository_ref.name)
        state = state_of(
            check.spec,
            selection,
            invalid=check.invalid,
            rejected=check.rejected,
            has_repository=repository is not None and not is_deleting(repository),
        )
        generation = check.obj["metadata"].get("generation")
        updated = conditions.update(conditions.dicts_of(status), state, generation=generation, now=check.now)
        reports = self._index.retention.of(ObjectKey(check.namespace, check.name))
        retention = check.spec.retention
        updated = with_retention_summary(updated, retention, reports, generation=generation, now=check.now)
        verified = self._index.verification.of(ObjectKey(check.namespace, check.name))
        updated = with_verification_summary(
            updated, check.spec.verification, verified, generation=generation, now=check.now
        )
        updated = with_objective(updated, check.objective, generation=generation, now=check.now)
        status.conditions = conditions.models_of(updated)
        status.objective = check.objective.status if check.objective is not None else None
        status.retention = summarize(reports) if retention is not None else None
        status.verification = summarize_verification(check.spec, verified, check.now)
        status.vms, status.conflicting = len(selection.vms), len(selection.conflicts)
        status.observed_generation = generation
        written = await write_status(self._ctx.cluster, BACKUP_POLICY, check.obj, status)
        if written and conditions.changed_ready(old, status) and state.kind != conditions.READY:
            await self._ctx.events.post(check.obj, "Warning", state.reason, state.message)
