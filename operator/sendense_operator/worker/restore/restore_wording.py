"""Texts about a restore's disks and claims, for messages."""

from __future__ import annotations

from typing import Final

from sendense_operator.restore_task import RestoreDisk

_MIB: Final = 1 << 20


def describe_target(disk: RestoreDisk) -> str:
    """Return which disk's claim it is: `disk 0, claim data`."""
    return f"disk {disk.index}, claim {disk.claim}" if disk.claim else f"disk {disk.index}"


def mebibytes_needed(count: int) -> str:
    """Return bytes in MiB, rounded up: `9 MiB`."""
    return f"{-(-count // _MIB)} MiB"


def mebibytes_free(count: int) -> str:
    """Return bytes in MiB, rounded down: `8 MiB`."""
    return f"{count // _MIB} MiB"
