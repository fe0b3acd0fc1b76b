"""Whether a VM's newest restore point is as recent as a policy requires. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.formatting import human_duration
from sendense_operator.reconcile.protection.chain_index import ChainEntry
from sendense_operator.reconcile.protection.selection import PolicyEntry

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class ObjectiveReason(StrEnum):
    """Reasons of the conditions Protected of ProtectedVMs and Objective of policies."""

    WITHIN = "WithinObjective"
    NEVER = "NeverBackedUp"
    TOO_OLD = "TooOld"
    DAMAGED = "Damaged"
    SUSPENDED = "Suspended"
    VANISHED = "Vanished"
    NO_OBJECTIVE = "NoObjective"
    MISSED = "ObjectiveMissed"
    NO_VMS = "NoVMs"


@dataclass(frozen=True, slots=True)
class Objective:
    """What a policy requires of a VM."""

    policy: str
    repository: str
    max_age: timedelta
    suspended: bool

    @classmethod
    def of(cls, policy: PolicyEntry) -> Objective | None:
        """Return the objective of a policy, if it has one."""
        if policy.max_age is None:
            return None
        return cls(policy.name, policy.repository, policy.max_age, policy.suspended)


@dataclass(frozen=True, slots=True)
class Assessment:
    """A VM as one objective sees it."""

    vm: str
    objective: Objective
    reason: ObjectiveReason
    backup: str | None
    """Name of the newest usable restore point's Backup in the policy's repository."""
    time: datetime | None
    """When the content of that restore point was taken."""
    damaged: bool
    """Whether a newer one is damaged."""

    @property
    def is_within(self) -> bool:
        """Whether the restore point is recent enough."""
        return self.reason is ObjectiveReason.WITHIN

    @property
    def until(self) -> datetime | None:
        """When the restore point becomes too old; None when it is, or when there is none."""
        return self.time + self.objective.max_age if self.is_within and self.time is not None else None

    @property
    def rank(self) -> tuple[datetime, str, str]:
        """The lowest is the worst: no restore point, then the oldest."""
        return self.time or _NEVER, self.vm, self.objective.policy


def assess(vm: str, objective: Objective, chain: ChainEntry | None, now: datetime) -> Assessment:
    """Return whether the VM is within the objective. `chain`: of the VM in the policy's repository."""
    backup, time = (chain.backup, chain.time) if chain is not None else (None, None)
    damaged = chain is not None and chain.damaged
    if time is not None and now < time + objective.max_age:
        reason = ObjectiveReason.WITHIN
    elif objective.suspended:
        reason = ObjectiveReason.SUSPENDED
    elif damaged:
        reason = ObjectiveReason.DAMAGED
    else:
        reason = ObjectiveReason.NEVER if time is None else ObjectiveReason.TOO_OLD
    return Assessment(vm, objective, reason, backup, time, damaged)


def describe(found: Assessment) -> str:
    """Return the message: what was found, and what to do next. It stays the same while nothing changes."""
    objective, age = found.objective, human_duration(found.objective.max_age.total_seconds())
    what = f"the objective of policy {objective.policy} ({age})"
    point = f"restore point {found.backup} of {found.time:%Y-%m-%dT%H:%M:%SZ}" if found.time is not None else ""
    if found.is_within:
        return f"{point} is within {what}"
    where = f"repository {objective.repository}"
    if found.damaged:
        rest = f"the newest usable one is {point}" if point else "no other is left"
        text = f"the newest restore point in {where} is damaged, and {rest}: it misses {what}"
    elif point:
        text = f"{point} is the newest in {where}, and older than {what} allows"
    else:
        text = f"{where} has no restore point of this VM: it misses {what}"
    return f"{text}. {_advice(found)}"


def _advice(found: Assessment) -> str:
    if found.reason is ObjectiveReason.SUSPENDED:
        return "The policy is suspended: set its spec.suspend to false, or create a Backup"
    return f"Create a Backup, or see what became of the last ones: kubectl get backups -l {names.LABEL_VM}={found.vm}"
