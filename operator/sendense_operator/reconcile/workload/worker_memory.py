"""The memory of a worker's pod: what chart and repository say, more for a VM that needs more, and a ceiling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from sendense_operator.chain.memory_estimate import DiskLoad, describe, estimate
from sendense_operator.reconcile.state.problem import Meaning, Problem

Obj = dict[str, Any]

_MIB: Final = 1 << 20
_QUANTITY: Final = re.compile(r"^\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:(m|k|[MGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?$")
_FACTORS: Final = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3),
    **{unit: Decimal(1000 ** (power + 2)) for power, unit in enumerate("MGTPE")},
    **{f"{unit}i": Decimal(1024 ** (power + 1)) for power, unit in enumerate("KMGTPE")},
}  # fmt: skip


def parse_quantity(text: str | float) -> int:
    """Bytes of a quantity as Kubernetes writes it, such as 1Gi. Raises ValueError."""
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        raise ValueError(f"not a quantity: {str(text)[:40]!r}")
    number, unit, exponent = match.groups()
    return int(Decimal(number) * _FACTORS[unit or ""] * Decimal(10) ** int(exponent or 0))


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
            f"its worker would need about {_mebibytes(needed)} MiB of memory for {describe(disks)}, worker.maxMemory "
            f"of the chart allows {ceiling}: raise it, or lower the repository's spec.maxChainDepth"
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
