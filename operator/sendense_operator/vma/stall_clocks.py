"""Decision how long a job may be silent before it has failed: one clock per stage (vma-contract 7.7). No I/O.

Telemetry and the VMA's progress numbers do not count as signs of life, because a deadlocked client produces them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from sendense_operator.task import Clocks

CLIENT_NOTICES_S: Final = 11.0
"""Seconds after which a client that does not hang has noticed that its export is closed, and has ended (vma-contract
5.4). Telemetry arrives twice in this time."""

CALLBACKS_DUE_S: Final = 60.0
"""Seconds of copying after which callbacks must have arrived: the VMA requests a change ID before it connects, and
sends telemetry every 5 s (vma-contract 3.1, 4.4)."""

INCREMENT_REFUSED: Final = "IncrementRefused"
"""Reason of a job that most likely ended because vCenter refused the parent's change ID."""


@dataclass(frozen=True, slots=True)
class JobObservation:
    """What a worker observes of its job. Times are monotonic seconds, None for "not yet".

    `current_…` is about the current disk, the first incomplete one, and its export: those of complete disks may keep
    their connections.
    """

    now: float
    started: float
    """When the start call was sent."""
    disks: int
    """Number of disks."""
    completes: int = 0
    """Number of complete disks."""
    cbt_enabled: bool = True
    """Whether the preflight found CBT enabled; enabling it takes minutes."""
    first_sign: float | None = None
    """When the progress call first answered something other than 404."""
    first_request: float | None = None
    """When the job's first change-ID request arrived."""
    last_request: float | None = None
    """When the current disk's last change-ID request arrived."""
    last_complete: float | None = None
    """When the last completion call was accepted."""
    current_connections: int = 0
    """Connections to the current disk's export now."""
    current_first_connected: float | None = None
    """When the current disk's export first had a connection."""
    current_last_connected: float | None = None
    """When the current disk's export last had a connection, since the previous disk was completed."""
    current_copies_changes: bool = False
    """Whether the VMA has requested the changes of the current disk."""
    current_may_have_data: bool = False
    """Whether something may have been written to the current disk."""
    connections: int = 0
    """Connections to all exports now. The client keeps one to each disk that it has begun, until it ends."""
    last_record: float | None = None
    """When the appliance last had a progress record of this job. It loses all records when it restarts."""
    last_telemetry: float | None = None
    """When telemetry last arrived."""
    last_bytes: float | None = None
    """When bytes last arrived on any export."""
    unhealthy_since: float | None = None
    """Since when every health check failed; None while the appliance answers."""
    current_address: str = ""
    """HOST:PORT that the VMA received for the current disk."""
    exports_gone: tuple[int, ...] = ()
    """Disk indexes whose qemu-nbd has ended."""


@dataclass(frozen=True, slots=True)
class Continue:
    """The job may still be working."""

    waiting_for: str
    """What happens next, for the status: such as `the VMA to create the snapshot`."""
    deadline: float
    """Monotonic time at which the job has failed if nothing happens until then."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job has failed."""

    reason: str
    """Reason in CamelCase."""
    message: str
    """What happened, and what to check."""


def decide_clocks(job: JobObservation, clocks: Clocks) -> Continue | Failed:
    """Return whether to continue waiting, as the clock of the current stage says."""
    if job.completes >= job.disks:
        return Continue("nothing: every disk is complete", math.inf)
    if job.exports_gone:
        names = ", ".join(str(index) for index in job.exports_gone)
        return Failed("ExportGone", f"qemu-nbd of disk {names} ended during the copy: see the worker's log")
    clock = _running_clock(job, clocks)
    return clock.failed if job.now >= clock.deadline else Continue(clock.waiting_for, clock.deadline)


def are_callbacks_missing(job: JobObservation) -> bool:
    """Return whether the VMA still wrote a minute after it had connected although no callback of the job has arrived.

    Such a copy will fail, because its completion call will not arrive either. An administrator can correct the
    callback URL while the copy runs.
    """
    if job.current_first_connected is None or job.last_bytes is None:
        return False
    if job.completes or job.first_request is not None or job.last_telemetry is not None:
        return False
    return job.last_bytes - job.current_first_connected >= CALLBACKS_DUE_S


@dataclass(frozen=True, slots=True)
class _Clock:
    deadline: float
    waiting_for: str
    failed: Failed


def is_stuck(closed: float, waited: float, last_telemetry: float | None, *, connected: bool) -> bool:
    """Return whether the client hangs forever: it still sent telemetry near the end of the `waited` seconds.

    `closed`: when the exports were closed; `last_telemetry`: when telemetry last arrived; both monotonic seconds.
    `connected`: whether the client ever was connected to an export. Otherwise it cannot hang on one: it is still
    creating its snapshot, and then fails to connect.
    """
    if not connected:
        return False
    late = CLIENT_NOTICES_S if waited > CLIENT_NOTICES_S else waited * 2 / 3
    return last_telemetry is not None and last_telemetry - closed > late


def _running_clock(job: JobObservation, clocks: Clocks) -> _Clock:
    if job.current_connections > 0:
        return _stall(job, clocks)
    if job.current_copies_changes and not job.current_may_have_data and job.last_request is not None:
        return _refused(_latest(job.last_request, job.current_last_connected), job, clocks)
    # A connection alone proves nothing: port scanners and health checks of tunnels may connect at any time.
    if job.current_last_connected is not None and (job.current_may_have_data or job.last_request is not None):
        return _reconnect(_latest(job.current_last_connected, job.last_request, job.last_complete), clocks)
    if job.last_request is not None:
        return _connect(job.last_request, job.current_address, clocks)
    if job.last_complete is not None:
        return _next_disk(job.last_complete, clocks)
    if job.first_sign is not None:
        return _snapshot(job.first_sign, clocks)
    return _first_sign(job, clocks)


def _first_sign(job: JobObservation, clocks: Clocks) -> _Clock:
    limit = clocks.first_sign if job.cbt_enabled else clocks.first_sign_cbt
    return _Clock(
        job.started + limit,
        "the VMA's first sign of life" if job.cbt_enabled else "the VMA to turn on Changed Block Tracking",
        Failed(
            "NoSignOfLife",
            f"the VMA accepted the job, but for {limit:.0f} s there was no progress record, no callback and no "
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
            f"the VMA reported progress, but sent no change-ID request and connected to no export for "
            f"{clocks.snapshot:.0f} s: check in vCenter whether the quiesced snapshot of the VM hangs, and check the "
            "client's log on the appliance",
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
        "the VMA to reconnect or to complete the disk",
        Failed(
            "ConnectionLost",
            f"the VMA disconnected from the disk's export and did not complete the disk within "
            f"{clocks.reconnect:.0f} s: its client has ended, or its completion call did not arrive. Check the "
            "client's log on the appliance, and check that the control-plane URL set there is status.callbackURL of "
            "the VMwareAppliance",
        ),
    )


def _refused(since: float, job: JobObservation, clocks: Clocks) -> _Clock:
    """Return the clock of a client that requested a disk's changes at `since` and did not connect after that.

    At this moment vCenter refuses a change ID if it does; the client then removes its snapshot and ends. A network
    failure looks similar, so a refusal is not assumed if the client continues to send telemetry (it was cut off) or if
    the appliance has no record of the job (it was restarted, or cannot be reached). Once no connection to any disk is
    left, the client has certainly ended, and no further time is needed.
    """
    lost = _reconnect(since, clocks)
    silent = _latest(since, job.last_telemetry) + CLIENT_NOTICES_S
    known = job.last_record is not None and job.last_record > since
    if not known or silent > lost.deadline:
        return lost
    return _Clock(
        silent if job.connections == 0 else lost.deadline,
        lost.waiting_for,
        Failed(
            INCREMENT_REFUSED,
            "the VMA's client requested a disk's changes and ended before it wrote any: most likely vCenter refused "
            "the change ID of the last restore point. The next attempt copies this disk in full",
        ),
    )


def _next_disk(since: float, clocks: Clocks) -> _Clock:
    return _Clock(
        since + clocks.reconnect,
        "the VMA to begin with the next disk",
        Failed(
            "NextDiskMissing",
            f"the VMA completed a disk, but did not begin with the next one within {clocks.reconnect:.0f} s: its "
            "client has ended. Check the client's log on the appliance",
        ),
    )


def _stall(job: JobObservation, clocks: Clocks) -> _Clock:
    since = _latest(job.started, job.current_first_connected, job.last_request, job.last_complete, job.last_bytes)
    deadline = since + clocks.stall
    unhealthy = math.inf
    if job.unhealthy_since is not None:
        # Data and health must both be missing for so long: one failed health check must not end a slow copy.
        unhealthy = _latest(since, job.unhealthy_since) + clocks.stall_unhealthy
    if unhealthy < deadline:
        return _Clock(
            unhealthy,
            "data; the VMA's health check fails",
            Failed(
                "ApplianceSilent",
                f"no data arrived and the VMA's health check failed for {clocks.stall_unhealthy:.0f} s: check that "
                "the appliance runs and that the network or the tunnel to it is up",
            ),
        )
    return _Clock(
        deadline,
        "data",
        Failed(
            "Stalled",
            f"the VMA is connected, but no data arrived for {clocks.stall:.0f} s: check the client's log on the "
            "appliance, and the load of vCenter and its hosts",
        ),
    )


def _latest(first: float, *others: float | None) -> float:
    return max([first, *(time for time in others if time is not None)])
