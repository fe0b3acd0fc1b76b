"""One discovery of an appliance from its first question to its last object, and what its status says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1.discovery import MAX_PLANNED, DiscoverySpec, DiscoveryStatus, PlannedVM
from sendense_operator.formatting import whole_seconds
from sendense_operator.reconcile.state.discovery_records import Creation, DiscoveryPlan, DiscoveryRun, Step

DISCOVERED: Final = "Discovered"
"""Condition of an appliance: whether its discovery did what the spec asks for."""


_SHOWN: Final = 3
_TEXT_LIMIT: Final = 200


@dataclass(frozen=True)
class DiscoveryReport:
    """What an appliance's status and its condition `Discovered` say."""

    status: DiscoveryStatus
    holds: bool
    reason: str
    message: str


def report_discovery(run: DiscoveryRun, rules: DiscoverySpec, old: DiscoveryStatus | None) -> DiscoveryReport:
    """Return what there is to say of a discovery. What was counted before stays until it is counted anew."""
    status = old.model_copy(deep=True) if old else DiscoveryStatus()
    status.created, status.updated = run.created, run.updated
    if run.plan is not None:
        _count(status, run, run.plan, rules)
    if run.ended is not None and not run.problems:
        status.last_time = whole_seconds(run.begun)
    problem = next(iter((*run.problems.values(), *run.doubts.values())), None)
    if problem is not None:
        text = _of_problems(run)
        status.message = text if run.plan is None else f"{text}. {_words(status, run, run.plan, rules)}"
        return DiscoveryReport(status, False, problem.reason, status.message)
    if run.plan is None:
        status.message = "listing the VMs of vCenter"
        return DiscoveryReport(status, False, "Discovering", status.message)
    status.message = _words(status, run, run.plan, rules)
    if run.ended is None:
        return DiscoveryReport(status, False, "Discovering", status.message)
    return DiscoveryReport(status, True, "DryRun" if rules.dry_run else "Discovered", status.message)


def _count(status: DiscoveryStatus, run: DiscoveryRun, plan: DiscoveryPlan, rules: DiscoverySpec) -> None:
    left: Sequence[Step] = plan.creations if rules.dry_run else run.steps
    waiting = [step for step in left if isinstance(step, Creation)]
    status.vms, status.matched = plan.vms, plan.matched
    status.pending, status.vanished = len(waiting), len(plan.vanished)
    status.unusable = len(_unusable(run, plan))
    shown = waiting[:MAX_PLANNED] if rules.dry_run else []
    status.planned = [PlannedVM(name=step.name, path=step.seen.vm.path) for step in shown]


def _words(status: DiscoveryStatus, run: DiscoveryRun, plan: DiscoveryPlan, rules: DiscoverySpec) -> str:
    parts = [f"{status.matched} of {status.vms} VMs match"]
    if rules.dry_run:
        changes = len(plan.moves) + len(plan.relabels)
        parts.append(f"dry run: {count_objects(status.pending)} would be made, {changes} changed")
    else:
        parts.append(f"{count_objects(status.created)} made")
        parts += [f"{status.pending} to be made"] if status.pending else []
        parts += [f"{status.updated} changed (path or labels)"] if status.updated else []
    if plan.vanished:
        parts.append(f"{status.vanished} vanished ({_some([known.name for known in plan.vanished])})")
    if plan.kept:
        kept = _some([known.name for known in plan.kept])
        parts.append(f"{len(plan.kept)} not listed, though vCenter knows a VM at their path ({kept})")
    if plan.clones:
        parts.append(f"{plan.clones} share their BIOS UUID with another VM and are identified by their paths")
    if unusable := _unusable(run, plan):
        named = _some([f"{path!r}: {why}" for path, why in unusable.items()])
        parts.append(f"{len(unusable)} can't be made or changed ({named})")
    return "; ".join(parts)


def count_objects(count: int) -> str:
    """`1 ProtectedVM`, `2 ProtectedVMs`."""
    return f"{count} ProtectedVM{'' if count == 1 else 's'}"


def _unusable(run: DiscoveryRun, plan: DiscoveryPlan) -> Mapping[str, str]:
    return {**plan.unusable, **run.refused}


def _of_problems(run: DiscoveryRun) -> str:
    texts = [f"datacenter {name!r}: {one.message}" if name else one.message for name, one in run.problems.items()]
    if run.doubts:
        doubts = _some([f"{name}: {one.message}" for name, one in run.doubts.items()])
        texts.append(f"whether {len(run.doubts)} moved is not known ({doubts})")
    return "; ".join(texts)


def _some(texts: Sequence[str]) -> str:
    shown = [text[:_TEXT_LIMIT] for text in texts[:_SHOWN]]
    return ", ".join(shown + ["…"] * (len(texts) > _SHOWN))
