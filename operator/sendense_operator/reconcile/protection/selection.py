"""Which VMs a policy backs up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Self

from pydantic import ValidationError

from sendense_operator.api.v1alpha1.backuppolicy import BackupPolicySpec, Retention, Schedule, Verification
from sendense_operator.api.v1alpha1.label_selector import LabelRequirement, LabelSelector, SelectorOperator
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import created, is_deleting, labels_of


@dataclass(frozen=True, slots=True)
class VMEntry:
    """What selection needs of a ProtectedVM."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    gone: bool
    """It is being deleted, or vCenter has it no more."""

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a ProtectedVM. Raises KeyError for what can't be one."""
        meta = obj["metadata"]
        vanished = bool((obj.get("status") or {}).get("vanishedTime"))
        return cls(meta["uid"], meta["namespace"], meta["name"], dict(labels_of(obj)), is_deleting(obj) or vanished)


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """What is needed of a BackupPolicy to know which VMs it rules, when, and what it requires and lets be deleted."""

    uid: str
    namespace: str
    name: str
    created: datetime
    generation: int
    selector: LabelSelector | None = None
    refs: frozenset[str] = frozenset()
    repository: str = ""
    suspended: bool = False
    retention: Retention | None = None
    verification: Verification | None = None
    failed_history_limit: int | None = None
    """None: its spec can't be read, so nothing is deleted."""
    schedules: tuple[Schedule, ...] = ()
    max_age: timedelta | None = None
    """Largest age of a VM's newest usable restore point; None: no objective."""

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a BackupPolicy. Raises KeyError for what can't be one; a spec of another version selects nothing."""
        spec: BackupPolicySpec | None = None
        with suppress(ValidationError):  # its own check says so; the other policies must go on
            spec = BackupPolicySpec.model_validate(obj["spec"])
        return cls.with_spec(obj, spec)

    @classmethod
    def with_spec(cls, obj: Obj, spec: BackupPolicySpec | None) -> Self:
        """From a BackupPolicy and its spec; without one it selects nothing."""
        meta = obj["metadata"]
        entry = cls(meta["uid"], meta["namespace"], meta["name"], created(obj), int(meta.get("generation") or 0))
        if spec is None:
            return entry
        return replace(
            entry,
            selector=spec.vm_selector,
            refs=frozenset(ref.name for ref in spec.vm_refs),
            repository=spec.repository_ref.name,
            suspended=spec.suspend,
            retention=spec.retention,
            verification=spec.verification,
            failed_history_limit=spec.failed_history_limit,
            schedules=tuple(spec.schedules),
            max_age=timedelta(seconds=spec.objective.max_age_seconds) if spec.objective is not None else None,
        )

    def selects(self, vm: VMEntry) -> bool:
        """Return whether the policy names the VM, whichever policy backs it up in the end."""
        return vm.name in self.refs or (self.selector is not None and matches(self.selector, vm.labels))

    @property
    def rank(self) -> tuple[datetime, str]:
        """The lowest rules."""
        return self.created, self.uid


@dataclass(frozen=True)
class Selection:
    """The VMs that a policy names."""

    vms: tuple[str, ...]
    """Those that it backs up."""
    conflicts: Mapping[str, str]
    """Those that an older policy backs up to the same repository, each with its name."""
    missing: tuple[str, ...]
    """Names of `spec.vmRefs` that no ProtectedVM has."""
    gone: tuple[str, ...]
    """Those that vCenter has no more, or that are being deleted."""


def select(policy: PolicyEntry, vms: Iterable[VMEntry], others: Iterable[PolicyEntry]) -> Selection:
    """Return what `policy` backs up.

    `vms`: of its namespace, at least all that it may choose; `others`: the namespace's policies.
    """
    older = sorted(
        (p for p in others if p.repository == policy.repository and p.rank < policy.rank), key=attrgetter("rank")
    )
    names, chosen, gone, conflicts = set[str](), list[str](), list[str](), dict[str, str]()
    for vm in vms:
        names.add(vm.name)
        if not policy.selects(vm):
            continue
        if vm.gone:
            gone.append(vm.name)
        elif ruling := next((other.name for other in older if other.selects(vm)), None):
            conflicts[vm.name] = ruling
        else:
            chosen.append(vm.name)
    return Selection(tuple(sorted(chosen)), conflicts, tuple(sorted(policy.refs - names)), tuple(sorted(gone)))


def ruling_policy(vm: VMEntry, repository: str, policies: Iterable[PolicyEntry]) -> PolicyEntry | None:
    """Return the policy that rules the VM's backups to a repository: the oldest one that selects it."""
    chosen = (policy for policy in policies if policy.repository == repository and policy.selects(vm))
    return min(chosen, key=attrgetter("rank"), default=None)


def ruling_policies(vm: VMEntry, policies: Iterable[PolicyEntry]) -> list[PolicyEntry]:
    """Return the policies that rule the VM's backups, one per repository, by name."""
    oldest = dict[str, PolicyEntry]()
    for policy in policies:
        if policy.selects(vm):
            known = oldest.get(policy.repository)
            oldest[policy.repository] = policy if known is None or policy.rank < known.rank else known
    return sorted(oldest.values(), key=attrgetter("name"))


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Return whether labels meet a selector, by the rules of Kubernetes; an empty selector matches nothing."""
    if not selector.match_labels and not selector.match_expressions:
        return False
    equal = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return equal and all(_meets(requirement, labels) for requirement in selector.match_expressions)


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.IN:
            return value in requirement.values
        case SelectorOperator.NOT_IN:
            return value not in requirement.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None
