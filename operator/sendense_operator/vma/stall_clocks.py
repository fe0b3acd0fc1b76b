"""When silence is a failure: one clock a stage (vma-contract, "What follows", 7). Pure.

Telemetry and the VMA's own progress numbers are no signs of life, because a deadlocked client sends them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from sendense_operator.task import Clocks

CLIENT_NOTICES_S: Final = 11.0
"""By then a client that can has noticed that its export is gone, and has ended. Two telemetry calls fit into it."""

CALLBACKS_DUE_S: Final = 60.0
"""A VMA that copies requests a change ID before it connects, and sends telemetry every 5 s (vma-contract, 3 and 4)."""

INCREMENT_REFUSED: Final = "IncrementRefused"
"""Reason of a job that ended because vCenter did not take the parent's change id, as far as that can be known."""


@dataclass(frozen=True, slots=True)
class JobObservation:
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
    """When the turn's export last had a connection in this turn."""
    turn_copies_changes: bool = False
    """The VMA has asked for the changes of the disk whose turn it is."""
    turn_wrote: bool = False
    """Something of that disk has been written, or may have been."""
    connections: int = 0
    """Of all exports: the client keeps one to each disk that it began with, until it ends."""
    last_record: float | None = None
    """When the appliance last showed a progress record of this job: it forgets all of them when it restarts."""
    last_telemetry: float | None = None
    last_bytes: float | None = None
    """When bytes last arrived on any export."""
    unhealthy_since: float | None = None
    """Since when every health call failed; None while the appliance answers."""
    turn_offered: str = ""
    """HOST:PORT that the VMA received for the disk whose turn it is."""
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


def decide_clocks(seen: JobObservation, clocks: Clocks) -> Continue | Failed:
    """Return whether to go on waiting; settled by the one clock that runs in this stage."""
    if seen.completes >= seen.disks:
        return Continue("nothing: every disk is complete", math.inf)
    if seen.exports_gone:
        names = ", ".join(str(index) for index in seen.exports_gone)
        return Failed("ExportGone", f"qemu-nbd of disk {names} ended while it was needed: see the worker's log")
    clock = _running_clock(seen, clocks)
    return clock.failed if seen.now >= clock.deadline else Continue(clock.waiting_for, clock.deadline)


def are_callbacks_missing(seen: JobObservation) -> bool:
    """Return whether the VMA still wrote a minute after it had connected, and no callback of the job has ever arrived.

    Such a copy comes to nothing, since its `complete` will not arrive either; a person can mend that while it runs.
    """
    if seen.turn_connected is None or seen.last_bytes is None:
        return False
    if seen.completes or seen.first_ask is not None or seen.last_telemetry is not None:
        return False
    return seen.last_bytes - seen.turn_connected >= CALLBACKS_DUE_S


@dataclass(frozen=True, slots=True)
class _Clock:
    deadline: float
    waiting_for: str
    failed: Failed


def is_stuck(closed: float, waited: float, last_telemetry: float | None, *, connected: bool) -> bool:
    """Return whether the client hangs for ever: it still sent telemetry near the end of the `waited` seconds.

    `closed`: when the exports were gone, `last_telemetry`: when it last came, both monotonic. `connected`: whether it
    ever was on an export. One that was not can't hang on it: it takes its snapshot, and will find nothing.
    """
    if not connected:
        return False
    late = CLIENT_NOTICES_S if waited > CLIENT_NOTICES_S else waited * 2 / 3
    return last_telemetry is not None and last_telemetry - closed > late


def _running_clock(seen: JobObservation, clocks: Clocks) -> _Clock:
    if seen.turn_connections > 0:
        return _stall(seen, clocks)
    if seen.turn_copies_changes and not seen.turn_wrote and seen.turn_ask is not None:
        return _refused(_latest(seen.turn_ask, seen.turn_last_connected), seen, clocks)
    # A connection alone proves nothing: port scanners and tunnels' health checks make some, at any time.
    if seen.turn_last_connected is not None and (seen.turn_wrote or seen.turn_ask is not None):
        return _reconnect(_latest(seen.turn_last_connected, seen.turn_ask, seen.last_complete), clocks)
    if seen.turn_ask is not None:
        return _connect(seen.turn_ask, seen.turn_offered, clocks)
    if seen.last_complete is not None:
        return _next_disk(seen.last_complete, clocks)
    if seen.first_sign is not None:
        return _snapshot(seen.first_sign, clocks)
    return _first_sign(seen, clocks)


def _first_sign(seen: JobObservation, clocks: Clocks) -> _Clock:
    limit = clocks.first_sign if seen.cbt_enabled else clocks.first_sign_cbt
    return _Clock(
        seen.started + limit,
        "the VMA's first sign of life" if seen.cbt_enabled else "the VMA to turn on changed block tracking",
        Failed(
            "NoSignOfLife",
            f"the VMA accepted the job and showed nothing for {limit:.0f} s: no progress record, no callback, no "
            "connection. Its client has most likely ended: check the client's log on the appliance and "
            "vCenter's recent tasks",
        ),
    )


def _snapshot(since: float, clocks: Clocks) -> _Clock:
    return _Clock(
        since + clocks.snapshot,
        "the VMA to create the snapshot",
        Failed(
            "SnapshotTimeout",
            f"the VMA reported progress, but sent no request and connected to no export for {clocks.snapshot:.0f} s: "
            "check in vCenter whether the quiesced snapshot of the VM hangs, and the client's log on the appliance",
        ),
    )


def _connect(since: float, offered: str, clocks: Clocks) -> _Clock:
    return _Clock(
        since + clocks.connect,
        "the VMA to connect to the disk's export",
        Failed(
            "NotConnected",
            f"the VMA requested the disk's change ID, but did not connect to its export at {offered} for "
            f"{clocks.connect:.0f} s: check that the appliance reaches this address and port (tunnel, firewall, "
            "spec.nbd.allowedFrom)",
        ),
    )


def _reconnect(since: float, clocks: Clocks) -> _Clock:
    return _Clock(
        since + clocks.reconnect,
        "the VMA to come back or to complete the disk",
        Failed(
            "ConnectionLost",
            f"the VMA closed the disk's export and did not complete the disk within {clocks.reconnect:.0f} s: its "
            "client has ended, or its complete call did not arrive. Look at the client's log on the appliance, and "
            "whether the control-plane URL set there is the callback URL in the VMwareAppliance's status",
        ),
    )


def _refused(since: float, seen: JobObservation, clocks: Clocks) -> _Clock:
    """Return the clock of a request for a disk's changes that no connection followed `since` then.

    vCenter refuses a change id in just that moment, and the client ends, after it has removed its snapshot. Broken
    networks look alike, so these speak against it: a client that goes on sending telemetry was cut off; an appliance
    that doesn't know the job any more was restarted; one that shows no record of it can't be reached. When no
    connection to any disk is left the client is gone for certain, and nothing has to be waited for.
    """
    lost = _reconnect(since, clocks)
    silent = _latest(since, seen.last_telemetry) + CLIENT_NOTICES_S
    known = seen.last_record is not None and seen.last_record > since
    if not known or silent > lost.deadline:
        return lost
    return _Clock(
        silent if seen.connections == 0 else lost.deadline,
        lost.waiting_for,
        Failed(
            INCREMENT_REFUSED,
            "the VMA's client requested a disk's changes and ended before it wrote any: most likely vCenter refused "
            "the change id of the last restore point. The next attempt copies this disk in full",
        ),
    )


def _next_disk(since: float, clocks: Clocks) -> _Clock:
    return _Clock(
        since + clocks.reconnect,
        "the VMA to begin with the next disk",
        Failed(
            "NextDiskMissing",
            f"the VMA completed a disk, but did not begin with the next one within {clocks.reconnect:.0f} s: its "
            "client has ended. Look at the client's log on the appliance",
        ),
    )


def _stall(seen: JobObservation, clocks: Clocks) -> _Clock:
    since = _latest(seen.started, seen.turn_connected, seen.turn_ask, seen.last_complete, seen.last_bytes)
    deadline = since + clocks.stall
    unhealthy = math.inf
    if seen.unhealthy_since is not None:
        # both have to be silent that long: one health call that fails late must not end a slow copy
        unhealthy = _latest(since, seen.unhealthy_since) + clocks.stall_unhealthy
    if unhealthy < deadline:
        return _Clock(
            unhealthy,
            "data; the VMA's health call fails",
            Failed(
                "ApplianceSilent",
                f"no data arrived and the VMA's health call failed for {clocks.stall_unhealthy:.0f} s: check whether "
                "the appliance runs and whether the network or the tunnel to it is up",
            ),
        )
    return _Clock(
        deadline,
        "data",
        Failed(
            "Stalled",
            f"the VMA is connected, but no data arrived for {clocks.stall:.0f} s: check the client's log on the "
            "appliance and at the load of vCenter and its hosts",
        ),
    )


def _latest(first: float, *others: float | None) -> float:
    return max([first, *(time for time in others if time is not None)])
