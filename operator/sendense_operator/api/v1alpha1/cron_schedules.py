"""When something runs: cron expressions, and what became of their slots."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sendense_operator.api.v1alpha1.backup import RequestedType
from sendense_operator.api.v1alpha1.base import Model, ObjectName, ShortText

TimeZone = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,2}$")]
Cron = Annotated[str, Field(min_length=9, max_length=128, pattern=r"^[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4}$")]


class CatchUp(StrEnum):
    """What becomes of a slot that passed while nothing could be started."""

    ONCE = "Once"
    SKIP = "Skip"


class Schedule(Model):
    """When to run."""

    name: ObjectName
    """Name of the schedule within the policy."""
    cron: Cron
    """Five fields, separated by one space: minute, hour, day of the month, month, day of the week."""
    time_zone: TimeZone = "UTC"
    """IANA time zone in which cron is read, such as Europe/Berlin."""
    type: RequestedType | None = None
    """Type of its Backups; none: spec.backup.type."""
    suspend: bool = False
    """Set to true to leave its slots out. They are not made up for afterwards."""


class ScheduleStatus(Model):
    """What became of one schedule."""

    name: ObjectName
    """Name of the schedule."""
    definition: ShortText = ""
    """Cron and time zone that the times below are of; with another one the schedule begins anew."""
    since: datetime
    """Slots up to this time are over."""
    slot: datetime | None = None
    """The newest slot that was run."""
    started: datetime | None = None
    """When its first Backups were created; the others follow within spec.jitterSeconds."""
    open: bool = False
    """Whether Backups of that slot are still to be created."""
    suspended: bool = False
    """Whether its slots are left out."""
    next_time: datetime | None = None
    """Its next slot."""
