"""The status of a ProtectedVM: pure functions of what vCenter said."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMStatus
from sendense_operator.formatting import human_bytes, human_count, whole_seconds
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.vm_records import FoundVM

CHANGE_TRACKING: Final = "ChangeTracking"
"""Condition: whether Changed Block Tracking is on."""
GONE: Final = frozenset({"VMVanished", "VMReplaced"})
"""Reasons of Ready for a VM that was there and is no longer."""

_STAMP_STEP: Final = timedelta(hours=6)
"""While nothing else changes, a shared answer's time is written that often: 1,000 VMs must not mean 1,000 writes."""
_CBT: Final[dict[bool | None, tuple[str, str]]] = {
    True: ("Enabled", "Changed Block Tracking is on"),
    False: (
        "Disabled",
        "Changed Block Tracking is off: the appliance turns it on with the next backup, which copies the disks in full",
    ),
    None: ("NotKnown", "the appliance did not say whether Changed Block Tracking is on"),
}


def next_vm_status(
    old: ProtectedVMStatus,
    result: FoundVM | Problem,
    *,
    generation: int | None,
    now: datetime,
    asked: datetime | None = None,
    shared: bool = False,
) -> ProtectedVMStatus:
    """Return the status that tells of `result`. What was known of the VM stays when it can't be asked.

    `asked`: when vCenter was, if it was; `shared`: for all VMs at once.
    """
    if isinstance(result, Problem):
        status, updated = _of_problem(old, result, generation, now)
    else:
        status, updated = _of_found(old, result, generation, now)
    status.observed_generation = generation
    status.conditions = conditions.models_of(updated)
    last = old.last_discovery_time
    recent = last is not None and now - last < _STAMP_STEP
    if asked is not None and not (shared and recent and status == old):
        status.last_discovery_time = whole_seconds(asked)
    return status


def _of_problem(
    old: ProtectedVMStatus, problem: Problem, generation: int | None, now: datetime
) -> tuple[ProtectedVMStatus, conditions.Conditions]:
    status = old.model_copy(deep=True)
    if problem.reason in GONE:
        status.vanished_time = old.vanished_time or whole_seconds(now)
    if problem.reason == "VMNotFound":
        # Never seen for this spec: what is known is of another VM.
        status.uuid = None
    make = conditions.stalled if problem.meaning is Meaning.FINAL else conditions.reconciling
    state = make(problem.reason, problem.message)
    return status, conditions.update(conditions.dicts_of(old), state, generation=generation, now=now)


def _of_found(
    old: ProtectedVMStatus, found: FoundVM, generation: int | None, now: datetime
) -> tuple[ProtectedVMStatus, conditions.Conditions]:
    count = len(found.disks)
    total = sum(disk.virtual_size for disk in found.disks)
    size = human_bytes(total)
    status = ProtectedVMStatus(
        vm_name=found.vm.name[:1024],
        uuid=found.vm.id[:256] or None,
        power_state=found.vm.power_state[:256] or None,
        guest_os=found.vm.guest_os[:1024] or None,
        cbt_enabled=found.cbt_enabled,
        total_bytes=total,
        size=size,
        last_discovery_time=old.last_discovery_time,
        disks=list(found.disks),
        latest_backup=old.latest_backup,
        latest_time=old.latest_time,
        policy=old.policy,
        next_time=old.next_time,
    )
    state = conditions.ready("Discovered", f"{human_count(count, 'disk')}, {size}")
    updated = conditions.update(conditions.dicts_of(old), state, generation=generation, now=now)
    reason, message = _CBT[found.cbt_enabled]
    return status, conditions.with_aspect(
        updated, CHANGE_TRACKING, found.cbt_enabled, reason, message, generation=generation, now=now
    )
