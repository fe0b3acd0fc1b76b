"""The claims that a Restore writes to, whichever target names them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sendense_operator.api.v1alpha1.restore import RestoredDiskStatus
from sendense_operator.api.v1alpha1.restore_target import ClaimTarget, RestoreTarget
from sendense_operator.api.v1alpha1.restored_claim import NewClaim
from sendense_operator.api.v1alpha1.virtual_machine_target import VirtualMachineTarget


def claim_targets(target: RestoreTarget | None, disks: Sequence[RestoredDiskStatus]) -> list[ClaimTarget] | None:
    """Return the claim of each disk; None: the disks are only served or verified."""
    if target is None:
        return None
    if target.virtual_machine is not None:
        return [_of_machine(target.virtual_machine, disk) for disk in disks]
    return target.persistent_volume_claims


def _of_machine(machine: VirtualMachineTarget, disk: RestoredDiskStatus) -> ClaimTarget:
    return ClaimTarget(
        disk=disk.index,
        claim_name=f"{machine.name}-disk-{disk.index}",
        create=NewClaim(storage_class_name=disk.storage_class_name, access_modes=machine.access_modes),
    )
