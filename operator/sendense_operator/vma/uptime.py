"""The uptime that an appliance reports."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_PART: Final = re.compile(rf"\s*({_NUMBER})\s*(ms|us|ns|d|h|m|s)")


def parse_uptime(text: str | None) -> float | None:
    """Seconds of a Go duration (`72h3m0.5s`) or of plain seconds; None for anything else."""
    clean = (text or "").strip().lower().replace("µ", "u").replace("μ", "u")
    if re.fullmatch(_NUMBER, clean):
        return float(clean)
    total, at = 0.0, 0
    while (part := _PART.match(clean, at)) is not None:
        total, at = total + float(part[1]) * _SECONDS[part[2]], part.end()
    return total if clean and at == len(clean) else None
