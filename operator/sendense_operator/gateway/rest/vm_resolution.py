"""Which VM is meant by a name. Pure.

The ranks are those of `views.vm_ranks`; where restore points are asked for, the VM that was called so when they were
made comes last.

Nobody guesses between two of one rank: then `vm_context_id`, the ProtectedVM's own name, says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM
from sendense_operator.views.vm_ranks import ranked_vms

_CANDIDATES: Final = 10


def find_vm(vms: Iterable[CachedVM], vm_name: str) -> CachedVM | None:
    """Return the VM that is meant, if there is one. Raises RestError (409) for several."""
    ranks = ranked_vms(vms, vm_name)
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
    ranks = [[vm.name for vm in rank] for rank in ranked_vms(vms, vm_name)]
    made = {one.vm for one in backups if one.is_point and vm_name in (one.vm_name, one.vm)}
    with_points = {chain.vm for chain in chains if chain.points}
    meant = [rank for rank in (*ranks, sorted(made)) if with_points.intersection(rank)] or ranks
    if not meant:
        return ""
    _check_unique(meant[0], vm_name)
    return meant[0][0]


def _check_unique(names: Sequence[str], vm_name: str) -> None:
    if len(names) > 1:
        some = ", ".join(sorted(names)[:_CANDIDATES])
        raise RestError(
            409, "vm_name is ambiguous", f"several VMs are named {vm_name[:200]!r}: give vm_context_id, one of {some}"
        )
