"""When silence is a failure: one clock a stage (vma-contract, "What follows", 7). Pure.

Telemetry and the VMA's own progress numbers are no signs of life, because a deadlocked client sends them too.
"""

from __future__ import annotations

from dataclasses import dataclass

from sendense_operator.task import Clocks


@dataclass(frozen=True, slots=True)
class Observation:
    """What a worker sees of its job. Times are monotonic seconds, None for "not yet".

    "turn" means the export of the disk whose turn it is: connections of finished disks stay open.
    """

    now: float
    started: float
    """When the start call was sent."""
    disks: int
    completes: int = 0
    cbt_enabled: bool = True
    """What the preflight saw: turning CBT on takes its time."""
    first_sign: float | None = None
    """First progress report that was not 404."""
    first_ask: float | None = None
    turn_ask: float | None = None
    """Last ask since the last complete."""
    last_complete: float | None = None
    turn_connections: int = 0
    turn_connected: float | None = None
    """When the turn's export first had a connection in this turn."""
    turn_last_connected: float | None = None
    """When the turn's export last had a connection."""
    last_bytes: float | None = None
    """When bytes last arrived on any export."""
    unhealthy_since: float | None = None
    """Since when every health call failed; None while the appliance answers."""
    exports_gone: tuple[int, ...] = ()
    """Disks whose qemu-nbd has ended."""


@dataclass(frozen=True, slots=True)
class Continue:
    """All is well."""

    waiting_for: str
    """For a person, such as `the VMA to create the snapshot`."""
    deadline: float
    """Monotonic time at which this becomes a failure if nothing happens."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job is dead."""

    reason: str
    """CamelCase."""
    message: str
    """Says what to look at."""


def decide_clocks(seen: Observation, clocks: Clocks) -> Continue | Failed:
    """Whether to go on waiting."""
    raise NotImplementedError
