"""Numbers as people read them in `kubectl get`, and times as Kubernetes writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(count: float) -> str:
    """`1.5 GiB`."""
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if value < 1023.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def human_rate(bytes_per_second: float) -> str:
    """`180 MiB/s`; empty when nothing moves."""
    return f"{human_bytes(bytes_per_second)}/s" if bytes_per_second >= 1 else ""


def human_duration(seconds: float) -> str:
    """`45s`, `12m`, `3h20m`, `2d4h`."""
    total = int(seconds)
    if total < 90:
        return f"{total}s"
    if total < 5400:
        return f"{round(total / 60)}m"
    if total < 48 * 3600:
        return f"{total // 3600}h{total % 3600 // 60}m"
    return f"{total // 86400}d{total % 86400 // 3600}h"


def human_count(count: int, what: str) -> str:
    """`1 disk`, `2 disks`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def human_list(names: Sequence[str], limit: int = 5) -> str:
    """Return `a, b`; of more than `limit` names the first ones and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def parse_time(text: str | None) -> datetime | None:
    """Return a Kubernetes timestamp (RFC 3339, always UTC); None stays None."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def utc_stamp(moment: datetime) -> str:
    """Return a time as the API writes it, such as 2025-10-05T12:00:00Z, for a message."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def whole_seconds(moment: datetime) -> datetime:
    """In UTC and without a fraction, as the API server stores it."""
    return moment.astimezone(UTC).replace(microsecond=0)
