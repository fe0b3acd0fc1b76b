"""Which VM is meant by a name. Pure.

A VM that was made anew in vCenter has a new ProtectedVM, and the old one keeps the name that it had; names in vCenter
need not be unique; and restore points outlive both. A name therefore means, in this order:

1. the VM that is called so in vCenter and has not vanished,
2. the ProtectedVM of that name,
3. the VM that was called so in vCenter before it vanished,
4. where restore points are asked for: the VM that was called so when they were made.

Nobody guesses between two of one rank: then `vm_context_id`, the ProtectedVM's own name, says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM

_CANDIDATES: Final = 10


def find_vm(vms: Iterable[CachedVM], vm_name: str) -> CachedVM | None:
    """Return the VM that is meant, if there is one. Raises RestError (409) for several."""
    ranks = _ranked(vms, vm_name)
    if not ranks:
        return None
    _check_unique([vm.name for vm in ranks[0]], vm_name)
    return ranks[0][0]


def find_chained_vm(
    vms: Iterable[CachedVM], chains: Iterable[CachedChain], backups: Iterable[CachedBackup], vm_name: str
) -> str:
    """Return the name of the ProtectedVM, existing or not, whose restore points are meant; if none, as `find_vm`.

    `chains`: where the points may be. Empty when there is no such VM. Raises RestError (409) for several.
    """
    ranks = [[vm.name for vm in rank] for rank in _ranked(vms, vm_name)]
    made = {one.vm for one in backups if one.is_point and vm_name in (one.vm_name, one.vm)}
    with_points = {chain.vm for chain in chains if chain.points}
    meant = [rank for rank in (*ranks, sorted(made)) if with_points.intersection(rank)] or ranks
    if not meant:
        return ""
    _check_unique(meant[0], vm_name)
    return meant[0][0]


def _ranked(vms: Iterable[CachedVM], vm_name: str) -> list[list[CachedVM]]:
    """Return the VMs that may be meant by their rank; no rank is empty."""
    fit = [vm for vm in vms if vm_name in (vm.name, vm.vm_name)]
    ranks = (
        [vm for vm in fit if vm.vm_name == vm_name and not vm.vanished],
        [vm for vm in fit if vm.name == vm_name],
        [vm for vm in fit if vm.vm_name == vm_name and vm.vanished],
    )
    return [rank for rank in ranks if rank]


def _check_unique(names: Sequence[str], vm_name: str) -> None:
    if len(names) > 1:
        some = ", ".join(sorted(names)[:_CANDIDATES])
        raise RestError(
            409, "vm_name is ambiguous", f"several VMs are named {vm_name[:200]!r}: give vm_context_id, one of {some}"
        )
