"""Ports of the node for workers that are reached through a tunnel."""

from __future__ import annotations

from collections.abc import Collection


def choose_host_ports(first: int, last: int, taken: Collection[int], count: int) -> list[int] | None:
    """Return the `count` lowest free ports of `first`..`last`, or None when there are not so many.

    `taken` holds the ports of all live workers, on whichever node: where a worker will run is not known yet.
    """
    free = [port for port in range(first, last + 1) if port not in taken]
    return free[:count] if len(free) >= count else None
