"""Quantities as Kubernetes writes them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(r"^\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:(m|k|[MGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?$")
_FACTORS: Final = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3),
    **{unit: Decimal(1000 ** (power + 2)) for power, unit in enumerate("MGTPE")},
    **{f"{unit}i": Decimal(1024 ** (power + 1)) for power, unit in enumerate("KMGTPE")},
}  # fmt: skip


def parse_quantity(text: str | float) -> int:
    """Return the bytes of a quantity as Kubernetes writes it, such as 1Gi. Raises ValueError."""
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        raise ValueError(f"not a quantity: {str(text)[:40]!r}")
    number, unit, exponent = match.groups()
    return int(Decimal(number) * _FACTORS[unit or ""] * Decimal(10) ** int(exponent or 0))
