"""How recent a VM's newest restore point is, by the objectives of all policies that back it up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendense_operator.reconcile.protection.chain_index import ChainEntry
from sendense_operator.reconcile.protection.next_run import next_run
from sendense_operator.reconcile.protection.objective import (
    Assessment,
    Objective,
    ObjectiveReason,
    assess,
    describe,
)
from sendense_operator.reconcile.protection.selection import PolicyEntry


@dataclass(frozen=True)
class VMProtection:
    """What a ProtectedVM's status says of its restore points."""

    backup: str | None
    """Name of the newest usable restore point's Backup, over all repositories."""
    time: datetime | None
    """When the content of that restore point was taken."""
    policy: str | None
    next_time: datetime | None
    """The next slot of that policy."""
    holds: bool | None
    """Status of the condition Protected; None is Unknown."""
    reason: ObjectiveReason
    message: str
    changes: datetime | None
    """When it is different without any event."""


def describe_protection(
    vm: str, rulers: Sequence[PolicyEntry], chains: Iterable[ChainEntry], *, vanished: bool, now: datetime
) -> VMProtection:
    """Return what there is to say. `rulers`: one policy per repository, by name; `chains`: all of the VM."""
    by_repository = {chain.key.repository: chain for chain in chains}
    usable = [chain for chain in by_repository.values() if chain.time is not None]
    newest = max(usable, key=lambda chain: (chain.time, chain.key), default=None)
    # Of equals the first one: of policies with the same objective, and of those without one, the first by name.
    ruler = min(rulers, key=lambda policy: policy.max_age or timedelta.max, default=None)
    slot = next_run(ruler, now) if ruler is not None and not vanished else None
    found = _assess_all(vm, rulers, by_repository, now)
    holds, reason, message = _condition(found, vanished=vanished)
    times = [slot, *(one.until for one in found if not vanished)]
    return VMProtection(
        backup=newest.backup if newest is not None else None,
        time=newest.time if newest is not None else None,
        policy=ruler.name if ruler is not None else None,
        next_time=slot,
        holds=holds,
        reason=reason,
        message=message,
        changes=min((time for time in times if time is not None), default=None),
    )


def _assess_all(
    vm: str, rulers: Iterable[PolicyEntry], chains: Mapping[str, ChainEntry], now: datetime
) -> list[Assessment]:
    objectives = (Objective.of(policy) for policy in rulers)
    return [
        assess(vm, objective, chains.get(objective.repository), now)
        for objective in objectives
        if objective is not None
    ]


def _condition(found: Sequence[Assessment], *, vanished: bool) -> tuple[bool | None, ObjectiveReason, str]:
    """Return status, reason and message of the condition Protected: the worst of all objectives."""
    if vanished:
        text = (
            "vCenter no longer has this VM. Its restore points stay; delete the ProtectedVM if the VM is not to return"
        )
        return None, ObjectiveReason.VANISHED, text
    if not found:
        text = "no policy with spec.objective backs up this VM: the age of its restore points is not checked"
        return None, ObjectiveReason.NO_OBJECTIVE, text
    missed = sorted((one for one in found if not one.is_within), key=lambda one: one.rank)
    if missed:
        return False, missed[0].reason, "; ".join(describe(one) for one in missed)
    return True, ObjectiveReason.WITHIN, "; ".join(describe(one) for one in found)
