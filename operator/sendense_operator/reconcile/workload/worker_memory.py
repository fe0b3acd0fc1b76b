"""The memory of a worker's pod: what chart and repository say, more for a VM that needs more, and a ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sendense_operator.chain.memory_estimate import DiskLoad, describe_disks, estimate
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.quantity import parse_quantity

_MIB: Final = 1 << 20


def decide_resources(disks: Sequence[DiskLoad], resources: Obj, ceiling: str) -> Obj | Problem:
    """`resources` of the container for a VM with these disks, with more memory where that is needed.

    What needs more than the limit gets the request as well: it would be the first to be evicted. `ceiling`: a quantity
    that no limit may exceed; empty: there is none. A problem, final, for disks that need more.
    """
    needed = estimate(disks)
    limit = (resources.get("limits") or {}).get("memory")
    if limit is None or parse_quantity(limit) >= needed:
        return resources
    if ceiling and needed > max(parse_quantity(ceiling), parse_quantity(limit)):
        text = (
            f"its worker would need about {_mebibytes(needed)} MiB of memory for {describe_disks(disks)}, "
            f"worker.maxMemory of the chart allows {ceiling}: raise it, or lower the repository's spec.maxChainDepth"
        )
        return Problem("MemoryExceeded", text, Meaning.FINAL)
    return with_memory(resources, needed)


def with_memory(resources: Obj, needed: int) -> Obj:
    """`resources` with limit and request of the memory raised to the bytes `needed`, where the limit is less."""
    limit = (resources.get("limits") or {}).get("memory")
    if limit is None or parse_quantity(limit) >= needed:
        return resources
    memory = {"memory": f"{_mebibytes(needed)}Mi"}
    return {
        **resources,
        "limits": {**resources["limits"], **memory},
        "requests": {**(resources.get("requests") or {}), **memory},
    }


def _mebibytes(count: int) -> int:
    return -(-count // _MIB)
