"""Clients of an appliance that hang until its service is restarted: told by workers, kept in the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sendense_operator.api.v1alpha1.vmwareappliance import MAX_STUCK_JOBS
from sendense_operator.task import Answer
from sendense_operator.vma.uptime import parse_uptime

REMEDY: Final = "restart the appliance's service to free them"


def was_restarted(before: str | None, now: str | None) -> bool:
    """Whether the appliance's uptime went back. An uptime that can't be read never says so."""
    was, seen = parse_uptime(before), parse_uptime(now)
    return was is not None and seen is not None and seen < was


def started_at(contact: datetime | None, uptime: str | None) -> datetime | None:
    """When the service started, which said `uptime` at `contact`; None when that is not known."""
    seconds = parse_uptime(uptime)
    if contact is None or seconds is None:
        return None
    try:
        return contact - timedelta(seconds=seconds)
    except OverflowError:
        return None


def stuck_jobs(known: Sequence[str], answers: Iterable[Answer], started: datetime | None) -> list[str]:
    """The job ids in `known` and those that `answers` tell of, each once.

    An answer given before the service `started` speaks of a client that is gone. When the list is full it stays as it
    is: that there are so many is what counts.
    """
    told = {
        answer.job_id
        for answer in answers
        if answer.stuck_client
        and answer.job_id
        and not (started is not None and answer.finished is not None and answer.finished < started)
    }
    return [*known, *sorted(told.difference(known))][:MAX_STUCK_JOBS]


def describe(count: int) -> str:
    """What to do about `count` of them."""
    return f"{count} {'client hangs' if count == 1 else 'clients hang'} on the appliance: {REMEDY}"
