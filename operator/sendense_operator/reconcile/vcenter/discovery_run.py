"""One discovery of an appliance from its first question to its last object, and what its status says of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sendense_operator.api.v1alpha1.discovery import MAX_PLANNED, DiscoverySpec, DiscoveryStatus, PlannedVM
from sendense_operator.reconcile.state.formatting import whole_seconds
from sendense_operator.reconcile.state.problem import Problem
from sendense_operator.reconcile.vcenter.discovery_plan import Creation, Plan, Step

DISCOVERED: Final = "Discovered"
"""Condition of an appliance: whether its discovery did what the spec asks for."""

OF_ALL: Final = frozenset({"VCenterRefused", "VCenterUnreachable", "ApplianceUnreachable", "ApplianceInvalid"})
"""Reasons that hold for each question: vCenter counts failed logins, so nothing else is asked for."""

_SHOWN: Final = 3
_TEXT_LIMIT: Final = 200


@dataclass
class Run:
    """A discovery. Lost with the process: the next one finds what is left to do."""

    specs: tuple[str, int]
    """UID and generation of the appliance."""
    since: float
    """When it began (monotonic seconds): lists of before are not its own."""
    begun: datetime
    """The same by the API server's clock."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """Why a datacenter could not be listed, or (without a name) why nothing can be made."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the API server took no object for a VM, by its path."""
    there: set[str] = field(default_factory=set)
    """Names of objects at whose path vCenter knows a VM, though no list has it: they follow no other."""
    doubts: dict[str, Problem] = field(default_factory=dict)
    """Why vCenter did not say whether a VM is still at its old path, by the name of its object."""
    plan: Plan | None = None
    steps: deque[Step] = field(default_factory=deque)
    """What of the plan is left to do."""
    planned: bool = False
    """Whether the plan had any: then there is another one after them, to see that nothing is left."""
    looks: int = 0
    """In which something was done."""
    resume: float = 0.0
    """Not before that moment (monotonic seconds), so that no event hurries it."""
    created: int = 0
    updated: int = 0
    ended: float | None = None
    """When there was nothing left to do (monotonic seconds)."""

    @property
    def blocked(self) -> bool:
        """Whether it can't go on with anything."""
        return "" in self.problems

    @property
    def unlisted(self) -> frozenset[str]:
        """Datacenters that vCenter has, as far as anybody knows, and that could not be listed."""
        named = {name: problem.reason for name, problem in self.problems.items() if name}
        return frozenset(name for name, reason in named.items() if reason != "DatacenterNotFound")

    @property
    def failed(self) -> bool:
        """Whether something is left to the next one, which then comes sooner."""
        return bool(self.problems or self.doubts)

    def is_off(self, step: Step) -> bool:
        """Whether the rest of this run leaves a step alone."""
        if step.seen.vm.path in self.refused:
            return True
        if isinstance(step, Creation) or step.replaced:
            return False
        return step.known.name in self.doubts or any(doubt.reason in OF_ALL for doubt in self.doubts.values())


@dataclass(frozen=True)
class Told:
    """What an appliance's status and its condition `Discovered` say."""

    status: DiscoveryStatus
    holds: bool
    reason: str
    message: str


def tell(run: Run, rules: DiscoverySpec, old: DiscoveryStatus | None) -> Told:
    """What there is to say of a discovery. What was counted before stays until it is counted anew."""
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
        return Told(status, False, problem.reason, status.message)
    if run.plan is None:
        status.message = "vCenter is asked for its VMs"
        return Told(status, False, "Discovering", status.message)
    status.message = _words(status, run, run.plan, rules)
    if run.ended is None:
        return Told(status, False, "Discovering", status.message)
    return Told(status, True, "DryRun" if rules.dry_run else "Discovered", status.message)


def _count(status: DiscoveryStatus, run: Run, plan: Plan, rules: DiscoverySpec) -> None:
    left: Sequence[Step] = plan.creations if rules.dry_run else run.steps
    waiting = [step for step in left if isinstance(step, Creation)]
    status.vms, status.matched = plan.vms, plan.matched
    status.pending, status.vanished = len(waiting), len(plan.vanished)
    status.unusable = len(_unusable(run, plan))
    shown = waiting[:MAX_PLANNED] if rules.dry_run else []
    status.planned = [PlannedVM(name=step.name, path=step.seen.vm.path) for step in shown]


def _words(status: DiscoveryStatus, run: Run, plan: Plan, rules: DiscoverySpec) -> str:
    parts = [f"{status.matched} of {status.vms} VMs match"]
    if rules.dry_run:
        parts.append(f"dry run: {objects(status.pending)} would be made, {len(plan.moves)} changed")
    else:
        parts.append(f"{objects(status.created)} made")
        parts += [f"{status.pending} to be made"] if status.pending else []
        parts += [f"{status.updated} changed, since their VMs moved"] if status.updated else []
    if plan.vanished:
        parts.append(f"{status.vanished} vanished ({_some([known.name for known in plan.vanished])})")
    if plan.kept:
        kept = _some([known.name for known in plan.kept])
        parts.append(f"{len(plan.kept)} not listed, though vCenter knows a VM at their path ({kept})")
    if plan.clones:
        parts.append(f"{plan.clones} share their BIOS UUID with another and are told by their paths")
    if unusable := _unusable(run, plan):
        parts.append(
            f"{len(unusable)} can't have one ({_some([f'{path!r}: {why}' for path, why in unusable.items()])})"
        )
    return "; ".join(parts)


def objects(count: int) -> str:
    """`1 ProtectedVM`, `2 ProtectedVMs`."""
    return f"{count} ProtectedVM{'' if count == 1 else 's'}"


def _unusable(run: Run, plan: Plan) -> Mapping[str, str]:
    return {**plan.unusable, **run.refused}


def _of_problems(run: Run) -> str:
    texts = [f"datacenter {name!r}: {one.message}" if name else one.message for name, one in run.problems.items()]
    if run.doubts:
        doubts = _some([f"{name}: {one.message}" for name, one in run.doubts.items()])
        texts.append(f"whether {len(run.doubts)} moved is not known ({doubts})")
    return "; ".join(texts)


def _some(texts: Sequence[str]) -> str:
    shown = [text[:_TEXT_LIMIT] for text in texts[:_SHOWN]]
    return ", ".join(shown + ["…"] * (len(texts) > _SHOWN))
