"""Names of new objects. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_MAX_NAME: Final = 63


def made_up_name(stem: str, now: datetime, token: str) -> str:
    """Return a name for a new object: stem, time in UTC, five random characters. `token`: those, of a-z and 0-9."""
    tail = f"-{now:%Y%m%d-%H%M%S}-{token[:5]}"
    head = re.sub(r"[^a-z0-9-]", "-", stem.lower())[: _MAX_NAME - len(tail)].strip("-")
    return f"{head or 'backup'}{tail}"
