"""Clients of an appliance that hang until its service is restarted, as their telemetry tells. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sendense_operator.api.v1alpha1.vmwareappliance import MAX_STUCK_JOBS

REMEDY: Final = "restart the appliance's service to free them"


def stuck_jobs(known: Sequence[str], seen: Iterable[str], running: Collection[str], *, settled: bool) -> list[str]:
    """Return Job IDs whose clients hang: those `seen`, but for jobs that a worker is `running`.

    Unless it is `settled` what gateways see, those `known` before stay: a controller that just started has heard too
    little to forget them. When the list is full it stays as it is: that there are so many is what counts.
    """
    there = set(seen)
    kept = [job for job in known if job in there or not settled]
    found = [*kept, *sorted(there.difference(kept))]
    return [job for job in found if job not in running][:MAX_STUCK_JOBS]


def describe_stuck(count: int) -> str:
    """Return what to do about `count` of them."""
    return f"{count} {'client hangs' if count == 1 else 'clients hang'} on the appliance: {REMEDY}"
