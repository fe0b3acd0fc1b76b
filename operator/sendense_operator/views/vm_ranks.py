"""Which VM is meant by a name. Pure.

A VM that was made anew in vCenter has a new ProtectedVM, and the old one keeps the name that it had; names in vCenter
need not be unique; and restore points outlive both. A name therefore means, in this order:

1. the VM that is called so in vCenter and has not vanished,
2. the ProtectedVM of that name,
3. the VM that was called so in vCenter before it vanished.

Nobody guesses between two of one rank.
"""

from __future__ import annotations

from collections.abc import Iterable

from sendense_operator.views.cached_objects import CachedVM


def ranked_vms(vms: Iterable[CachedVM], vm_name: str) -> list[list[CachedVM]]:
    """Return the VMs that may be meant by their rank; no rank is empty."""
    fit = [vm for vm in vms if vm_name in (vm.name, vm.vm_name)]
    ranks = (
        [vm for vm in fit if vm.vm_name == vm_name and not vm.vanished],
        [vm for vm in fit if vm.name == vm_name],
        [vm for vm in fit if vm.vm_name == vm_name and vm.vanished],
    )
    return [rank for rank in ranks if rank]
